"""Decisions that need no namespace."""

import pytest
from manor.errors import Permanent, Unsupported

from manor_vim_netns.nodes import _link_commands, boot_script

PORT = {"device": "tap1", "mac": "52:54:00:00:00:01", "mtu": 1500, "addresses": ["192.0.2.1/24"], "gateway": ""}


def test_a_script_stays_as_it_is():
    assert boot_script("#!/bin/sh\necho hello\n", "k") == "#!/bin/sh\necho hello\n"


def test_of_a_cloud_config_the_commands_are_run():
    script = boot_script("#cloud-config\nhostname: web\nruncmd:\n  - [touch, 'a b']\n  - echo x >y\n", "k")
    assert script.splitlines() == ["#!/bin/sh -e", "echo web >/etc/hostname", "touch 'a b'", "echo x >y"]


@pytest.mark.parametrize("text", ["#cloud-config\nwrite_files: []\n", "#cloud-boothook\n", "#cloud-config\n- 1\n"])
def test_what_is_not_understood_is_refused(text):
    with pytest.raises(Unsupported, match="node k"):
        boot_script(text, "k")


@pytest.mark.parametrize("field", ["device", "mac", "gateway"])
def test_no_word_can_become_two_commands(field):
    with pytest.raises(Permanent):
        _link_commands("mn-node-x", {"key": "k", "ports": [{**PORT, field: "x\nlink del eth0"}]})
