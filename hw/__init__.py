"""Everything that touches a wire: bus, devices, maps, simulator."""
