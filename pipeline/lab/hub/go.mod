module lab/hub

go 1.26
