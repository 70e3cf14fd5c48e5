// Package canary judges a new release by its requests beside those of the old release at the same time.
//
// It answers two questions at every look, and a third answer is "not yet":
//
//   - Is the new release worse, beyond chance? It is asked of the share of failing requests, and of the shares of
//     requests slower than the old release's 50th, 90th and 99th percentile.
//   - Is it shown to be as good, within what is tolerated? It is asked in each step of the share of failing requests and of the
//     share slower than the old release's 90th percentile.
//
// Both are sequential tests by e-values, bets that no strategy of looking can win by chance: the product of the bets over blocks
// of requests is at most 1 in expectation whenever one stops to look, if the hypothesis that it bets against holds, so that it ever
// reaches 1/a with a chance of at most a (Ville's inequality). There is no number of looks or requests to fix beforehand.
// [Ramdas, Grünwald, Vovk, Shafer: Game-theoretic statistics and safe anytime-valid inference, Statistical Science 38, 2023]
//
// # Worse
//
// A block is the requests of a short time, n1 of the new release and n0 of the old one. If both do alike, which of the k failing
// ones are the new release's is a matter of chance alone: their number is hypergeometric, whatever the share of failures is and
// however it changes from block to block. That a database is slow for a minute harms both alike and says nothing. The bet is the
// likelihood ratio of x failures under odds that are t times as high, by Fisher's noncentral hypergeometric distribution:
//
//	t^x / E[t^X],   X hypergeometric of n1, n0, k
//
// Several t bet side by side with an equal part of the capital each, since nobody knows how much worse a bad release is; and
// each step of the cutover begins with a part of its own, so that good steps do not hide what begins later.
// [ter Schure, Pérez-Ortiz, Ly, Grünwald: The anytime-valid logrank test, New England Journal of Statistics in Data Science 2024;
// Turner, Ly, Grünwald: Generic E-variables for exact sequential k-sample tests, J. Statistical Planning and Inference 2024]
//
// Of several roles each is compared by itself, with an equal part of the false alarms: the chance that any of several bets wins so
// much is at most the sum of theirs (Bonferroni), however their requests depend on each other.
//
// A difference that is real and too small to matter (Rule.WorseErrors, Rule.WorseLatency) is not held against a release.
//
// # As good
//
// The hypothesis is that the new release's share is larger than the old one's by the tolerated difference d or more. The bet is the
// likelihood ratio of two shares a1 and a0, predicted from earlier blocks, against the pair (m+d, m) that is nearest to them:
//
//	(a1/(m+d))^x1 ((1-a1)/(1-m-d))^(n1-x1) (a0/m)^x0 ((1-a0)/(1-m))^(n0-x0)
//
// With m at the least of n1 KL(a1,m+d) + n0 KL(a0,m) its expectation is at most 1 for every pair of the hypothesis: its logarithm is
// concave along the border of the hypothesis and its slope is 0 at m. [Turner, Ly, Grünwald, as above]
package canary
