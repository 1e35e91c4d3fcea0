# SPDX-License-Identifier: Apache-2.0
"""Helpers of the end-to-end tests: namespaces, talkers and listeners, weir itself. (Frames: harness.wire,
which needs scapy.)"""
from .case import LONG, Failed, Skip, check, equal, long_or, main, must, need, times
from .netns import SLOW, Bridge, Lab, ProgramFailed, Router, sh
from .talk import PATIENCE, Flood, Listener, Probe, Stalls, ask, eventually, family_of, fence, ping, token
from .weir import BIN, ROOT, Policy, Weir

__all__ = [n for n in dir() if not n.startswith("_")]
