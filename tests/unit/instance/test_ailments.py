"""What ails a VM is said when it begins, seldom while it lasts, and when it is over."""

from holdfast.instance.ailments import LONGEST, LONGEST_TEXT, Ailments


def test_a_log_is_not_flooded() -> None:
    ailments = Ailments()
    lines = [
        line
        for now in range(0, 24 * 3600, 5)
        if (line := ailments.set("qemu", "is mute", float(now)))
    ]
    assert lines[0] == "is mute"
    assert lines[1] == "still, after 30 s: is mute"
    assert len(lines) < 24 * 3600 / LONGEST + 12
    assert str(ailments) == "is mute"
    assert ailments.clear("qemu", 24 * 3600.0) == "over after 86400 s: is mute"
    assert not ailments
    assert ailments.clear("qemu", 0.0) == ""


def test_each_has_its_own_beginning() -> None:
    ailments = Ailments()
    assert ailments.set("a", "one", 0)
    assert ailments.set("b", "two", 1)
    assert not ailments.set("a", "one", 2)
    assert str(ailments) == "one; two"
    ailments.clear("a", 3)
    assert str(ailments) == "two"
    assert ailments.set("a", "one", 4) == "one"


def test_what_stands_in_etcd_is_short_whoever_worded_it() -> None:
    ailments = Ailments()
    for number in range(300):
        ailments.set(f"{number}", f"the storage of disk {number}{'x' * 5000} does not answer", 0)
    assert len(str(ailments)) <= LONGEST_TEXT
    assert str(ailments).startswith("the storage of disk 0x")
