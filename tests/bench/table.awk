# Makes the table: of the file of rows (see rows.sh) and the file of figures.
# Prints, for each row measured, the medians and the median of the pairs' ratios, where
# more than 1 means that microvm does better.

function median(list, n,    i, j, t) {
	for (i = 2; i <= n; i++)
		for (j = i; j > 1 && list[j - 1] > list[j]; j--) {
			t = list[j]; list[j] = list[j - 1]; list[j - 1] = t
		}
	return n % 2 ? list[(n + 1) / 2] : (list[n / 2] + list[n / 2 + 1]) / 2
}

# The median figure of who in a row; the number of pairs in count.
function middle(row, who,    p, list, n) {
	for (p = 1; p <= pairs; p++)
		if ((row, who, p) in figure) list[++n] = figure[row, who, p]
	count = n
	return n ? median(list, n) : 0
}

function ratio(row, us, them, way,    p, list, n) {
	for (p = 1; p <= pairs; p++) {
		if (!((row, us, p) in figure) || !((row, them, p) in figure)) continue
		if (way == "less" && figure[row, us, p] > 0)
			list[++n] = figure[row, them, p] / figure[row, us, p]
		if (way == "more" && figure[row, them, p] > 0)
			list[++n] = figure[row, us, p] / figure[row, them, p]
	}
	lowest = highest = 0
	if (!n) return 0
	middling = median(list, n)
	lowest = list[1]; highest = list[n]
	return middling
}

function number(x) {
	return x >= 100 ? sprintf("%.0f", x) : sprintf("%.2f", x)
}

FNR == NR { rows[++nrows] = $0; next }

{
	split($0, f, " ")
	if (f[4] + 0 > 0) figure[f[1], f[2], f[3]] = f[4] + 0
	if (f[3] + 0 > pairs) pairs = f[3] + 0
}

END {
	format = "%-40s %-7s %10s %10s %7s  %s\n"
	printf format, "", "", "microvm", "peer", "ratio", ""
	for (i = 1; i <= nrows; i++) {
		split(rows[i], r, "|")
		row = r[1]; way = r[4]; us = r[6]
		if (!middle(row, us)) continue
		if (r[7] == "") {
			printf format, r[2], r[3], number(middle(row, us)), "", "", ""
			continue
		}
		best = ""
		m = split(r[7], rivals, ",")
		for (j = 1; j <= m; j++) {
			x = ratio(row, us, rivals[j], way)
			if (x > 0 && (best == "" || x < least)) { least = x; best = rivals[j] }
		}
		if (best == "") continue
		x = ratio(row, us, best, way)
		ours = middle(row, us)
		remark = sprintf("%.2f-%.2f", lowest, highest)
		if (m > 1 && best != "qemu") remark = remark ", QEMU with " best
		if (r[5] > 0 && x < r[5]) { remark = remark ", BELOW THE FLOOR of " r[5]; below++ }
		else if (r[5] > 1) remark = remark ", floor " r[5]
		printf format, r[2], r[3], number(ours), number(middle(row, best)), sprintf("%.2f", x), remark
	}
	printf "\nMedians; ratio: median of %d pairs (lowest-highest), above 1: microvm does better.\n", pairs
	if (below) printf "%d rows are below their floor.\n", below
}
