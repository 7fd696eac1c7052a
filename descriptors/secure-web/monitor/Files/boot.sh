#!/bin/sh -e
# A transparent traffic monitor: eth0 is towards the clients, eth1 towards the servers. It passes
# everything and counts unicast IPv4 packets, and attempts to open a TCP connection, each way.
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
table bridge traffic {
    counter forward { }
    counter backward { }
    counter connections_forward { }
    counter connections_backward { }

    chain forward {
        type filter hook forward priority 0; policy accept;
        iifname "eth0" ip daddr != 224.0.0.0/4 counter name forward
        iifname "eth1" ip daddr != 224.0.0.0/4 counter name backward
        iifname "eth0" tcp flags & (syn | ack) == syn counter name connections_forward
        iifname "eth1" tcp flags & (syn | ack) == syn counter name connections_backward
    }
}
RULES

# Its indicator "connections", in Prometheus's text format, so that the counter is read as a rate.
cat >/usr/bin/connections-opened <<'SCRIPT'
#!/bin/sh -e
echo "# TYPE connections_total counter"
echo "connections_total $(vnf-counters connections_forward)"
SCRIPT
chmod 755 /usr/bin/connections-opened
