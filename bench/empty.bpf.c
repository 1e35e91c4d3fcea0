/* SPDX-License-Identifier: Apache-2.0 */
/* The floor: what one run of a program that does nothing costs in the same harness. */
#include "bpf/vmlinux.h"
#include <bpf/bpf_helpers.h>

SEC("tc")
int empty_tc(struct __sk_buff *skb)
{
	return -1;
}

SEC("xdp")
int empty_xdp(struct xdp_md *ctx)
{
	return 1; /* XDP_DROP */
}

char _license[] SEC("license") = "Apache-2.0";
