from pipeline import collection

ns = collection("config", blueprint="ihp-railiance-probe")
