"""The keys that set the guest up from inside, through cloud-init."""

from holdfast import user_data
from holdfast.keys.row import Key

# fmt: off
GUEST = (
    Key(name="user_data", parse=user_data.parse, permit=user_data.permit, field="user_data", with_options=True,
        value="URL, `file:` and a path, or text", doc="cloud-init's user-data; text starts with `#cloud-config`"),
)
