# Tables for LaTeX (package booktabs): BD-rates with intervals, and quality at given rates.
lic-bench run -c jpeg,webp -d sample --images 3 -p jpeg=10,20,40,60,80 -p webp=0,10,35,65,85 --quiet
lic-bench table --anchor jpeg --metric psnr_rgb,ms_ssim_rgb --interval -o bd-rates.tex
lic-bench table --at 0.5,1 -o rates.tex
lic-bench table --by-point --metric all -o points.csv
