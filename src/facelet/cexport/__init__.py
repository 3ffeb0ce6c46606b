"""An int8 network as C99 text that runs on a microcontroller: no heap, no float before the last tensor."""
