"""From the site file to plain tables: model, load, proof, compile."""
