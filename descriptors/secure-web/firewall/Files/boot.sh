#!/bin/sh -e
# A transparent firewall: eth0 is towards the clients, eth1 towards the servers. It has no address and is not seen.
load-modules bridge nftables
echo 1 >/proc/sys/net/ipv6/conf/all/disable_ipv6

ip link add br0 type bridge stp_state 0 mcast_snooping 0
for port in eth0 eth1; do
    ip link set "$port" master br0 up
done
ip link set br0 up
# Ready is what forwards, and that may be up to a second later than the links are there.
for _ in $(seq 100); do
    grep -q 3 /sys/class/net/eth0/brport/state && grep -q 3 /sys/class/net/eth1/brport/state && break
    sleep 0.05
done

nft -f - <<'RULES'
table bridge filter {
    counter passed_arp { }
    counter passed_icmp { }
    counter web_forward { }
    counter web_backward { }
    counter denied_forward { }
    counter denied_backward { }

    chain forward {
        type filter hook forward priority 0; policy drop;
        ether type arp counter name passed_arp accept
        ip protocol icmp counter name passed_icmp accept
        iifname "eth0" tcp dport 80 counter name web_forward accept
        # What a web server answers, but no connection that it opens.
        iifname "eth1" tcp sport 80 tcp flags & (syn | ack) != syn counter name web_backward accept
        iifname "eth0" ip daddr != 224.0.0.0/4 counter name denied_forward
        iifname "eth1" ip daddr != 224.0.0.0/4 counter name denied_backward
    }
}
RULES
