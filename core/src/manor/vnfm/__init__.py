"""One VNF: how many machines of each VDU, what each is made of, and the generic VNF manager."""
