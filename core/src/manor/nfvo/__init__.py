"""One network service: its VNFs, links and chains, where each goes, and whether it may. Pure throughout."""
