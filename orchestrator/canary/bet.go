package canary

import (
	"math"
	"sort"
)

// table counts bad and all requests of a block: of the new release and of the old one.
type table struct{ bad1, all1, bad0, all0 uint64 }

// sane bounds the bad by all: counters are not read in one instant.
func (t table) sane() table {
	t.bad1, t.bad0 = min(t.bad1, t.all1), min(t.bad0, t.all0)
	return t
}

// worse is the logarithm of the bet that the odds of the new release's requests to be bad are so many times those of the old
// one's: ln(t^x / E[t^X]).
func (t table) worse() func(odds float64) float64 {
	k := t.bad1 + t.bad0
	if k == 0 || t.all1 == 0 || t.all0 == 0 {
		return func(float64) float64 { return 0 }
	}
	h := hypergeometric{float64(t.all1), float64(t.all0), float64(k)}
	all := logChoose(h.n1+h.n0, h.k) // logSum(0), by Vandermonde's identity
	return func(odds float64) float64 {
		logOdds := math.Log(odds)
		return float64(t.bad1)*logOdds - (h.logSum(logOdds) - all)
	}
}

// hypergeometric is the distribution of how many of k requests are among the n1 of n1+n0.
type hypergeometric struct{ n1, n0, k float64 }

func (h hypergeometric) lowest() float64  { return max(0, h.k-h.n0) }
func (h hypergeometric) highest() float64 { return min(h.k, h.n1) }

// next is the weight of x+1 over that of x.
func (h hypergeometric) next(x float64) float64 {
	return (h.n1 - x) * (h.k - x) / ((x + 1) * (h.n0 - h.k + x + 1))
}

func (h hypergeometric) logWeight(x float64) float64 {
	return logChoose(h.n1, x) + logChoose(h.n0, h.k-x)
}

// logSum is the logarithm of the sum of all weights times t^x. It begins at the largest and ends where terms no longer count.
func (h hypergeometric) logSum(logOdds float64) float64 {
	lo, hi, t := h.lowest(), h.highest(), math.Exp(logOdds)
	mode := lo + float64(sort.Search(int(hi-lo), func(i int) bool { return h.next(lo+float64(i))*t < 1 }))
	const least = 1e-17
	sum := 1.0
	for x, term := mode, 1.0; x < hi; x++ {
		if term *= h.next(x) * t; term < least {
			break
		}
		sum += term
	}
	for x, term := mode, 1.0; x > lo; x-- {
		if term /= h.next(x-1) * t; term < least {
			break
		}
		sum += term
	}
	return h.logWeight(mode) + mode*logOdds + math.Log(sum)
}

func logChoose(n, k float64) float64 {
	return logFactorial(n) - logFactorial(k) - logFactorial(n-k)
}

func logFactorial(n float64) float64 {
	v, _ := math.Lgamma(n + 1)
	return v
}

// asGood is the logarithm of the bet against a share of bad requests that is higher than the old release's by d or more: that
// the shares are a1 of the new release and a0 of the old one. It is 0 for a pair of the hypothesis, which nothing can be won with.
func (t table) asGood(a1, a0, d float64) float64 {
	if t.all1 == 0 || t.all0 == 0 || a1 >= a0+d {
		return 0
	}
	m := t.nearest(a1, a0, d)
	return logLikelihood(t.bad1, t.all1, a1) - logLikelihood(t.bad1, t.all1, m+d) +
		logLikelihood(t.bad0, t.all0, a0) - logLikelihood(t.bad0, t.all0, m)
}

// nearest is the old release's share in the pair (m+d, m) that is nearest to (a1, a0): where the slope of the divergence is 0.
func (t table) nearest(a1, a0, d float64) float64 {
	n1, n0 := float64(t.all1), float64(t.all0)
	slope := func(m float64) float64 {
		return n0*(m-a0)/(m*(1-m)) + n1*(m+d-a1)/((m+d)*(1-m-d))
	}
	lo, hi := max(0, a1-d), min(a0, 1-d)
	for range 60 {
		if m := (lo + hi) / 2; slope(m) < 0 {
			lo = m
		} else {
			hi = m
		}
	}
	return (lo + hi) / 2
}

// logLikelihood is that of so many bad of all, without the binomial coefficient, which cancels.
func logLikelihood(bad, all uint64, share float64) float64 {
	var l float64
	if bad > 0 {
		l = float64(bad) * math.Log(share)
	}
	if good := all - bad; good > 0 {
		l += float64(good) * math.Log1p(-share)
	}
	return l
}
