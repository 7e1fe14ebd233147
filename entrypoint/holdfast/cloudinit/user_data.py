"""What user-data may be, wherever it stands: what cloud-init makes of it, by its own rules.

cloud-init (handlers, user_data.py) tells kinds by the first characters, blanks and capitals aside. All
else it drops with a warning in the guest's log, where nobody can log in to read it.
"""

from holdfast.grammar import Refused, bounded_yaml

# The longer ones first, as cloud-init tries them. `#include` stands for `#include-once` too.
ARCHIVE, PATCH, CONFIG = "#cloud-config-archive", "#cloud-config-jsonp", "#cloud-config"
SCRIPT, JINJA = "#!", "## template: jinja"
STARTS = (ARCHIVE, PATCH, CONFIG, SCRIPT, "#include", "#cloud-boothook", "#part-handler", JINJA)
MIME, MIME_SEARCHED = (
    "mime-version:",
    4096,
)  # cloud-init looks this far for what makes a message of it
MOST_PARTS = 100

SHORT = f"text that starts with {CONFIG}, {SCRIPT} or another of cloud-init's words"
KINDS = f"text that starts with {', '.join(STARTS)}, or a MIME message with MIME-Version"
UNTYPED = ("text/plain", "text/x-not-multipart", "text/x-shellscript")  # judged by their start


def is_message(text: str) -> bool:
    return MIME in text[:MIME_SEARCHED].lower()


def start(text: str) -> str:
    """By which of STARTS it is known; "" for none."""
    plain = text.lstrip()[: len(ARCHIVE)].lower()
    return next((known for known in STARTS if plain.startswith(known)), "")


def judge(text: str) -> None:
    """Raises Refused for what cloud-init would drop. Nothing of the text is shown: it may hold passwords."""
    if text.startswith("\ufeff"):
        rule = "starts with a byte-order mark, with which cloud-init ignores it: save it as UTF-8 without one"
        raise Refused(rule, hidden=True)
    if is_message(text):
        _judge_message(text)
    elif not start(text):
        raise Refused(f"is dropped by cloud-init, which takes {KINDS}", hidden=True)
    else:
        _judge_part(text)


def _judge_part(text: str, known: str = "") -> None:
    match known or start(text):
        case "#cloud-config":
            _judge_yaml(text, (dict, type(None)), "mapping")
        case "#cloud-config-archive":
            _judge_yaml(text, (list,), "list")
        case "#cloud-config-jsonp":
            _judge_patch(text)
        case ("#!" | "## template: jinja") as known if not text.lower().startswith(known):
            # The kernel wants it as the first two bytes; cloud-init's templates likewise.
            raise Refused(f"has blanks before {known}, which must come first", hidden=True)
        case "## template: jinja":
            _judge_template(text)
        case _:
            pass


def _judge_yaml(text: str, kinds: tuple[type, ...], noun: str) -> None:
    if not isinstance(bounded_yaml.loaded(text), kinds):
        raise Refused(f"is no {noun} in YAML below its first line", hidden=True)


def _judge_patch(text: str) -> None:
    import json  # noqa: PLC0415 - hardly anybody writes one

    try:
        found = json.loads(text.lstrip()[len(PATCH) :])
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, list):
        raise Refused("is no list in JSON below its first line", hidden=True)


def _judge_template(text: str) -> None:
    """What it renders to is known in the guest only, but its second line is hardly ever a variable."""
    below = text.partition("\n")[2]
    if not start(below) and not below.lstrip().startswith("{"):
        rule = f"is a template of nothing that cloud-init takes: {CONFIG} or the like is its second line"
        raise Refused(rule, hidden=True)


def _judge_message(text: str) -> None:
    """Its parts, as far as they are cloud-config: the other kinds are theirs who wrote them."""
    from email import message_from_string  # noqa: PLC0415 - few write one

    if text.lower().count("boundary=") > MOST_PARTS:
        raise Refused(f"has more than {MOST_PARTS} boundaries", hidden=True)
    try:
        parts = [part for part in message_from_string(text).walk() if not part.is_multipart()]
    except (ValueError, RecursionError, LookupError):
        raise Refused("is no MIME message that can be read", hidden=True) from None
    kinds = [_kind(part.get_content_type(), _content(part)) for part in parts]
    if not any(kinds):
        rule = "is a MIME message without a part that cloud-init takes: is its boundary right?"
        raise Refused(rule, hidden=True)
    for part, kind in zip(parts, kinds, strict=True):
        if kind == CONFIG:
            _judge_part(_content(part), CONFIG)


def _kind(named: str, content: str) -> str:
    """As cloud-init finds it; "" for what it drops."""
    if not content or named == "text/html" or named.startswith("multipart/"):
        return ""
    if named in UNTYPED:
        return start(content)
    return CONFIG if named == "text/cloud-config" else named


def _content(part: object) -> str:
    payload = part.get_payload(decode=True)  # type: ignore[attr-defined]
    return payload.decode(errors="replace") if isinstance(payload, bytes) else ""
