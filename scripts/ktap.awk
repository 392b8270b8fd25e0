#!/usr/bin/awk -f
# SPDX-License-Identifier: GPL-2.0
#
# Counts the tests in KTAP: scripts/ktap.awk [FILE…]
#
# Nested results are counted where they are reported; a result line that sums up
# nested ones counts only if it failed and none of them did (a program that
# crashed or ran out of time). A plan that was not kept, and a skip without a
# reason, are failures of their own.
#
# Output: for every failed test a line "failed NAME", followed by what was said
# since the result before it, indented; then for every skipped one a line
# "skipped NAME: REASON"; at the end "total PASSED FAILED SKIPPED".

function depth_of(line) {
	match(line, /^ */)
	return int(RLENGTH / 4)
}

# The names of the groups that enclose depth d come later in the stream: a group's
# name is known at its end. Until then its tests are kept.
function record(d, verdict, name, text) {
	n[d]++
	verdicts[d, n[d]] = verdict
	names[d, n[d]] = name
	texts[d, n[d]] = text
}

function copy_up(d, group, i, to) {
	to = d - 1
	for (i = 1; i <= n[d]; i++)
		record(to, verdicts[d, i], group ": " names[d, i], texts[d, i])
}

# Ends the group of tests at depth d; complains if the plan was not kept.
function close_group(d, group) {
	if (d in plan && plan[d] != seen[d])
		record(d, "failed", "plan", "    " plan[d] " tests were planned, " seen[d] + 0 " reported\n" said)
	else if (!(d in plan) && seen[d] > 0)
		record(d, "failed", "plan", "    no plan was given, " seen[d] " tests were reported\n")
	else
		return
	said = ""
}

function forget(d) {
	n[d] = 0
	seen[d] = 0
	delete plan[d]
}

function failures(d, i, count) {
	for (i = 1; i <= n[d]; i++)
		count += verdicts[d, i] == "failed"
	return count + 0
}

# A result at depth d ends whatever was nested deeper.
function result(d, good, name, reason, e) {
	e = d + 1
	if (deepest > e)
		for (i = deepest; i > e; i--) {
			close_group(i)
			copy_up(i, "?")
			forget(i)
		}
	deepest = d
	seen[d]++
	if (n[e] > 0 || e in plan) {
		close_group(e)
		bad = failures(e)
		copy_up(e, name)
		forget(e)
		if (!good && !bad)
			record(d, "failed", name, said)
	} else if (!good) {
		record(d, "failed", name, said)
	} else if (reason == "none") {
		record(d, "failed", name, said "    it was skipped without a reason\n")
	} else if (reason != "") {
		record(d, "skipped", name ": " reason, "")
	} else {
		record(d, "passed", name, "")
	}
	said = ""
}

{ sub(/\r$/, "") }

/^ *1\.\.[0-9]+/ {
	d = depth_of($0)
	if (d > deepest)
		deepest = d
	line = $0
	sub(/^ *1\.\./, "", line)
	plan[d] = line + 0
	# A program that skips as a whole says so in its plan.
	if (match(line, /# *SKIP */)) {
		reason = substr(line, RSTART + RLENGTH)
		record(d, reason == "" ? "failed" : "skipped", "all: " (reason == "" ? "no reason" : reason), "")
	} else if (plan[d] == 0) {
		record(d, "failed", "nothing was planned", "")
	}
	next
}

/^ *(not )?ok( |$)/ {
	d = depth_of($0)
	good = $0 !~ /^ *not ok/
	name = $0
	sub(/^ *(not )?ok *[0-9]* *-? */, "", name)
	reason = ""
	if (match(name, /# *SKIP *:?/)) {
		reason = substr(name, RSTART + RLENGTH)
		name = substr(name, 1, RSTART - 1)
		sub(/^ +/, "", reason)
		if (reason == "" || reason == "unknown")
			reason = "none"
	} else if (match(name, / # /)) {
		said = said "    " substr(name, RSTART + 3) "\n"
		name = substr(name, 1, RSTART - 1)
	}
	sub(/ +$/, "", name)
	result(d, good, name, reason)
	next
}

# Whoever says that has no more to report.
/^ *Bail out!/ {
	record(0, "failed", $0, said)
	said = ""
	next
}

/^ *(KTAP|TAP) version / { next }
/^ *# *(RUN|OK) / { next }
/^ *# (Starting|PASSED:|FAILED:|Totals:|Subtest:)/ { next }

{
	line = $0
	sub(/^ */, "", line)
	if (line != "")
		said = said "    " line "\n"
}

END {
	for (d = deepest; d > 0; d--) {
		close_group(d)
		copy_up(d, "unfinished")
		forget(d)
	}
	close_group(0)
	if (!(0 in plan) && !seen[0])
		record(0, "failed", "nothing was reported", "")
	passed = failed = skipped = 0
	for (i = 1; i <= n[0]; i++) {
		if (verdicts[0, i] == "failed") {
			failed++
			printf "failed %s\n%s", names[0, i], texts[0, i]
		} else if (verdicts[0, i] == "skipped") {
			skipped++
			printf "skipped %s\n", names[0, i]
		} else {
			passed++
		}
	}
	printf "total %d %d %d\n", passed, failed, skipped
}
