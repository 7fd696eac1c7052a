"""The demo VNFs' image, built on the spot: nothing ready-made is downloaded, so what boots can be read here."""
