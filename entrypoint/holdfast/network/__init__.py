"""What a VM's cards need of this host: taps, VLANs, links, published ports."""
