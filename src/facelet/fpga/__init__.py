"""What a net costs on an FPGA board, before any vendor tool has run."""
