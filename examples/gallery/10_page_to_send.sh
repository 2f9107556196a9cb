# One HTML file to send: curves, BD-rates, images and pictures; it opens from disk.
lic-bench run -c jpeg,webp -d sample --images 2 -p jpeg=10,20,40,60,80 -p webp=0,10,35,65,85 --quiet
lic-bench report --images 1 --rates 0.5 --max-size 5 -o results.html
