# Compare four codecs: measure them, then see BD-rates and their confidence intervals.
# On Kodak: lic-bench fetch kodak, and --dataset kodak.
lic-bench run -c jpeg,jpeg2000,webp,avif:speed=8 -d sample --images 3 -p jpeg=20,40,60,80 -p jpeg2000=48,32,24,16 -p webp=10,35,65,85 -p avif:speed=8=30,45,60,75
lic-bench table --anchor jpeg --interval
lic-bench compare jpeg webp
