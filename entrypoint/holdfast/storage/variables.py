"""Whether the variables of a UEFI fit its code. Nothing is ever made to fit: they would be lost."""

HEAD = 1024**2  # bytes to look at; flash is mostly empty
# Of the header of a firmware volume: what it holds, its length, its signature.
KIND = slice(16, 44)
PLATFORM_KEY = "PK\0".encode("utf-16-le")


def unfit(found: bytes, size: int, template: bytes, template_size: int) -> str:
    """Say why it cannot be used, or "". `found` and `template` are the first HEAD bytes."""
    if size != template_size:
        return f"has {size} bytes, and the variables of this firmware have {template_size}"
    if found[KIND] != template[KIND]:
        return "does not hold the variables of this firmware"
    if PLATFORM_KEY in template and PLATFORM_KEY not in found:
        # Secure Boot would be off without a word.
        return (
            "holds no keys of Secure Boot, as firmware=uefi made it: give it another name, and one "
            "with the keys is made"
        )
    return ""
