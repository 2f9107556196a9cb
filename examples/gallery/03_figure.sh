# A figure of rate-distortion curves, and a strip of pictures at about one rate, for a paper.
lic-bench run -c jpeg,webp -d sample --images 2 -p jpeg=10,20,40,60,80 -p webp=0,10,35,65,85 --quiet
lic-bench plot --metric ms_ssim_rgb -o curves.pdf
lic-bench plot --points jpeg=20:80 --xlim 0,1.5 -o some-points.png
lic-bench extract --images astronaut.png --at 0.5 --crop 180,40,160,120 --zoom 2 --strip strip.pdf -o pictures
