# SPDX-License-Identifier: Apache-2.0
"""Frames as they are: a sniffer and an injector on one interface of one namespace. scapy only builds and
reads bytes here; the sockets are our own, so that they stand in the right namespace."""
import logging
import os
import select
import socket
import struct
import time

logging.getLogger("scapy").setLevel(logging.ERROR)
os.environ.setdefault("HOME", "/root")
from scapy import all as sp  # noqa: E402

from .talk import PATIENCE, SO_RCVBUFFORCE  # noqa: E402

ETH_P_ALL = 3
PACKET_AUXDATA = 8
SOL_PACKET = 263


class Wire:
    """Everything that passes one interface (both directions), and a way to put frames there."""

    def __init__(self, lab, ns, ifname, sniff=True):
        self.ns, self.ifname = ns, ifname
        with ns:
            self.s = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(ETH_P_ALL if sniff else 0))
            self.s.bind((ifname, ETH_P_ALL if sniff else 0))
        self.s.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, 32 << 20)
        self.s.setsockopt(SOL_PACKET, PACKET_AUXDATA, 1)
        self.s.setblocking(False)
        self.mac = ns.mac(ifname)
        lab.on_close(self.s.close)

    def send(self, *frames):
        for f in frames:
            data = bytes(f)
            deadline = time.monotonic() + PATIENCE
            while True:
                try:
                    self.s.send(data)
                    break
                except (BlockingIOError, OSError) as e:
                    if time.monotonic() > deadline:
                        raise RuntimeError(f"cannot send on {self.ifname}: {e}")
                    select.select([], [self.s], [], 0.05)

    def frames(self, incoming=True):
        """Raw frames seen since the last call, VLAN tags put back where the driver had taken them out."""
        out = []
        while True:
            try:
                data, anc, _, addr = self.s.recvmsg(65536, 256)
            except BlockingIOError:
                return out
            if incoming and addr[2] == socket.PACKET_OUTGOING:
                continue
            for level, kind, cdata in anc:
                if level == SOL_PACKET and kind == PACKET_AUXDATA:
                    status, _, _, _, _, tci, tpid = struct.unpack("IIIHHHH", cdata[:20])
                    if status & 0x10:  # TP_STATUS_VLAN_VALID
                        tag = struct.pack("!HH", tpid if status & 0x40 else 0x8100, tci)
                        data = data[:12] + tag + data[12:]
            out.append(data)

    def packets(self, incoming=True):
        return [sp.Ether(f) for f in self.frames(incoming)]

    def expect(self, match, timeout=PATIENCE):
        """The first packet that matches, or None."""
        deadline = time.monotonic() + timeout
        while True:
            for p in self.packets():
                if match(p):
                    return p
            left = deadline - time.monotonic()
            if left <= 0:
                return None
            select.select([self.s], [], [], left)

    def see(self, payload, timeout=PATIENCE):
        """True when a frame arrives that holds the bytes."""
        deadline = time.monotonic() + timeout
        while True:
            if any(payload in f for f in self.frames()):
                return True
            left = deadline - time.monotonic()
            if left <= 0:
                return False
            select.select([self.s], [], [], left)


def checksums_valid(pkt):
    """True when IP and transport checksums of an Ether packet are what they must be."""
    again = sp.Ether(bytes(pkt))
    layer = next((x for x in (sp.TCP, sp.UDP, sp.ICMP) if x in again), None)
    if sp.IP in again:
        before = (again[sp.IP].chksum, again[layer].chksum if layer else None)
        del again[sp.IP].chksum
    else:
        icmp6 = next((x for x in again.layers() if x.__name__.startswith("ICMPv6")), None)
        layer = layer if layer in (sp.TCP, sp.UDP) and not icmp6 else icmp6
        if layer is None:
            return True
        field = "cksum" if icmp6 and layer is icmp6 else "chksum"
        was = getattr(again[layer], field)
        delattr(again[layer], field)
        return getattr(sp.Ether(bytes(again))[layer], field) == was
    if layer:
        del again[layer].chksum
    again = sp.Ether(bytes(again))
    return before == (again[sp.IP].chksum, again[layer].chksum if layer else None)
