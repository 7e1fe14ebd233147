# network-config, version 2, as block YAML or JSON: a line "<entry> <mac or -> <fact> [value]" for
# each dhcp4, address, gateway and dns of an ethernets entry. Structure characters become line ends, then
# the keys alone tell what is what: an interface's address has a prefix length, a name server's has none.
BEGIN { known = "match|macaddress|name|set-name|dhcp4|dhcp6|addresses|gateway4|gateway6|routes|to|via|metric|on-link|nameservers|search|mtu|optional|accept-ra|link-local|dhcp4-overrides|dhcp6-overrides|use-dns|use-routes|wakeonlan|critical|renderer|dhcp-identifier" }

function fact(text) { facts[++count] = entry; texts[count] = text }

function route() {
    if (to ~ /^(default|0\.0\.0\.0\/0|::\/0)$/ && via != "") fact("gateway " via)
    if (to != "" && via != "") to = via = ""
}

function scalar(key, value) {
    if (key == "ethernets") inside = 1
    else if (key ~ /^(version|bonds|bridges|vlans|wifis|network)$/) { if (key != "version" && key != "network") inside = 0 }
    else if (!inside) return
    else if (key == "macaddress") macs[entry] = tolower(value)
    else if (key == "dhcp4" && value ~ /^(true|yes|on)$/) fact("dhcp4")
    else if (key ~ /^gateway[46]$/) fact("gateway " value)
    else if (key == "to") { to = value; route() }
    else if (key == "via") { via = value; route() }
    else if (value == "" && key !~ "^(" known ")$") { entry = key; to = via = "" }
}

function item(value) {
    if (!inside) return
    if (value ~ /^[0-9a-fA-F:.]+\/[0-9]+$/) fact("address " value)
    else if (value ~ /^([0-9]+\.[0-9.]+|[0-9a-fA-F]*:[0-9a-fA-F:.]+)$/) fact("dns " value)
}

/^[ \t]*#/ { next }
{
    gsub(/":/, ": ")
    gsub(/["']/, "")
    parts = split($0, part, /[][{},]/)
    for (i = 1; i <= parts; i++) {
        text = part[i]
        gsub(/^[ \t]*(- +)*|[ \t\r]+$/, "", text)
        if (text == "") continue
        if (match(text, /^[A-Za-z0-9_.-]+:( |$)/)) {
            value = substr(text, RLENGTH + 1)
            gsub(/^ +/, "", value)
            scalar(substr(text, 1, index(text, ":") - 1), value)
        } else item(text)
    }
}
END { for (i = 1; i <= count; i++) print facts[i], (facts[i] in macs ? macs[facts[i]] : "-"), texts[i] }
