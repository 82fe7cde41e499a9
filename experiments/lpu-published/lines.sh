#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# What is published of the first LPU's token rates, beside what the compiler's programs take: a table, then each line's
# waterfall against the published time. From anywhere:
#   experiments/lpu-published/lines.sh TANDEM FOLDER
# FOLDER keeps what the commands printed; what is there already is not computed again.
set -eu
tandem=$1
here=$(dirname "$0")
pool='cluster.pools.[1].lpu'
work=$2
mkdir -p "$work"

keep() { # file command...: its output
  file=$work/$1
  shift
  if [ ! -e "$file" ]; then
    "$@" >"$file.part"
    mv "$file.part" "$file"
  fi
}

# Contexts 513 to 1,536 of 1,024 generated tokens: a step's cycles are the same within a KV block of 320, so that these
# four with their counts are the exact mean. 4,096 is there for the size of the cache alone.
contexts=640,960,1280,1536,4096
mean() { # column: of the interval's table, us
  awk -v c="$1" '$2 == 640 { w = 128 } $2 == 960 || $2 == 1280 { w = 320 } $2 == 1536 { w = 256 } $2 == 4096 { w = 0 }
    /^over the ranges/ { on = 1 } on && $1 == 1 { sum += w * $c; n += w } END { if (n != 1024) exit 1; printf "%.3f", sum / n }'
}

measure() { # name config: $work/NAME.{price,explain,value}
  keep "$1.price" "$tandem" price "$here/$2.cfg" --context $contexts --ranges
  keep "$1.explain" "$tandem" lpu compile "$here/$2.cfg" --explain --position 1023
  for column in 3 4 5; do
    mean $column <"$work/$1.price"
    echo
  done | paste -s -d ' ' >"$work/$1.value"
}

claim() { # name source tokens_per_second
  read -r value low high <"$work/$1.value"
  awk -v name="$1" -v source="$2" -v p="$3" -v v="$value" -v l="$low" -v h="$high" 'BEGIN {
    t = 1e6 / p
    printf "%-13s %-42s %9.0f %9.0f %6.0f..%-6.0f %-8s %9.0f %9.0f %6.2f\n", name, source, p, 1e6 / v, 1e6 / h, 1e6 / l,
      (t >= l && t <= h) ? "inside" : "outside", t, v, t / v }'
}

waterfall() { # name tokens_per_second...
  name=$1
  shift
  printf '\n%s at position 1,023 (%s)\n' "$name" "$(sed -n 's/^grouping *//p' "$work/$name.explain" | cut -d: -f1)"
  for p in "$@"; do
    echo "  against $p tokens/s: what each term alone would have to be multiplied by"
    awk -v p="$p" '/^length/ { clock = 900 } /^where/ { on = 1; total = $2 } on && /%/ {
        name = $1; i = 2; while ($i !~ /^-?[0-9]+$/) name = name " " $(i++)
        terms[++n] = name; cycles[n] = $i }
      END {
        away = 1e6 / p - total / clock
        printf "  %-14s %10s %8s %12s\n", "term", "us", "share", "times"
        for (i = 1; i <= n; i++)
          printf "  %-14s %10.1f %6.1f %% %12s\n", terms[i], cycles[i] / clock, 100 * cycles[i] / total,
            (cycles[i] > 0) ? sprintf("%.2f", 1 + away * clock / cycles[i]) : "-"
        printf "  %-14s %10.1f\n  %-14s %10.1f\n  %-14s %10.1f\n", "ours", total / clock, "distance", away, "published", 1e6 / p
      }' "$work/$name.explain"
  done
}

# Mixtral: what is not experts, with a thin FFN; 32 layers of experts behind it; and the host, which routes.
mixtral() {
  keep thin "$tandem" lpu compile "$here/mixtral-rest.cfg" --part ffn
  keep experts "$tandem" lpu experts "$here/mixtral-experts.cfg" --most 1 --sensitivity
  thin=$(awk '/^layers/ { for (i = 1; i < NF; i++) if ($i == "take") print $(i + 1) / 900 }' "$work/thin")
  experts=$(awk '$1 == 1 && /\|/ { for (i = 1; i < NF; i++) if ($i == "|") { print ($(i - 1) + $(i + 2)) / 900; exit } }' "$work/experts")
  fast=$(awk '$1 == "interval" { print $2 / 900 }' "$work/experts")
  slow=$(awk '$1 == "interval" { print $4 / 900 }' "$work/experts")
  route=$(awk '$1 == 1 && /\|/ { for (i = 1; i < NF; i++) if ($i == "|") { print $(i - 1) / 900; exit } }' "$work/experts")
  read -r rest low high <"$work/mixtral-rest.value"
  awk -v thin="$thin" -v experts="$experts" -v fast="$fast" -v slow="$slow" -v route="$route" -v rest="$rest" -v low="$low" \
    -v high="$high" 'BEGIN {
      # host_latency of the device file: 1 us, 0.5 to 5; to the host and back, a layer
      printf "%.3f %.3f %.3f\n", rest - thin + 32 * (experts + 2), low - thin + 32 * (fast + route * fast / (experts - route) + 1),
        high + 32 * (slow + route * slow / (experts - route) + 10)
      printf "%.1f %.1f %.1f %.1f\n", rest, thin, 32 * experts, 64 >"/dev/stderr" }' >"$work/Mixtral-8x7B.value" 2>"$work/mixtral.parts"
}

measure Llama-2-70B llama-2-70b
measure Llama-3-70B llama-3-70b
measure Llama-3-8B llama-3-8b
measure mixtral-rest mixtral-rest
mixtral

echo "tokens/s of one user, mean over the 1,024 tokens that follow a prompt of 512; int8 weights, fp16 activations, one row"
printf '%-13s %-42s %9s %9s %-14s %-8s %9s %9s %6s\n' model source published ours interval "" "pub. us" "our us" ratio
claim Llama-2-70B 'The Next Platform, 2023-11-27' 300
claim Llama-2-70B 'TechPowerUp, 2024 (4,096 positions)' 300
claim Llama-2-70B 'ArtificialAnalysis, measured, January 2024' 241
claim Llama-3-70B 'ArtificialAnalysis, measured, 2024, highest' 350
claim Llama-3-70B 'ArtificialAnalysis, measured, 2024, lowest' 284
claim Llama-3-70B 'GroqCloud models page (llama-3.3-70b)' 280
claim Llama-3-8B 'ArtificialAnalysis, measured, 2024' 877
claim Llama-3-8B 'GroqCloud models page (llama-3.1-8b)' 560
claim Mixtral-8x7B 'TechPowerUp, 2024' 480

waterfall Llama-2-70B 300 241
waterfall Llama-3-70B 350 284
waterfall Llama-3-8B 877
read -r rest thin experts host <"$work/mixtral.parts"
printf '\nMixtral-8x7B, composed of programs (us): all but experts %s, less its thin FFN %s, experts of 32 layers %s, to the host and back %s\n' \
  "$rest" "$thin" "$experts" "$host"

grouping() { # chips_a_stage
  "$tandem" lpu compile "$here/llama-2-70b.cfg" --position 1023 --set "$pool.context=1536" --set "$pool.tensor=$1" \
    --set "$pool.objective=\"all\"" 2>&1 || true
}

batch() { # rows context
  "$tandem" price "$here/llama-2-70b.cfg" --context "$2" --batch "$1" --set "$pool.rows=$1" 2>&1 || true
}

echo
echo "Llama-2-70B in other groupings, position 1,023 (a cache of 1,536 positions: more groupings fit)"
for choice in 8 12 16 32; do
  keep "grouping.$choice" grouping $choice
  printf '%2s chips a stage: %s\n' $choice "$(sed -n 's/^tandem: \(.*\)/\1/p;s/^length *//p' "$work/grouping.$choice" | cut -d, -f1)"
done
echo
echo "Llama-2-70B, sequences that one pass takes, context 1,024, a cache of so much"
printf '%5s %9s %9s %12s %14s %14s\n' rows context "in flight" "beat us" tokens/s/user tokens/s
for rows in 1 4 16; do
  keep "batch.$rows" batch $rows 1024
  sed -n "s/^tandem: LPU [^:]*: /   $rows refused: /p;/^system/p" "$work/batch.$rows"
  awk '/tokens.s.user/ { on = 1; next } /fill the stages/ { exit } on && NF { print substr($0, 1, 68) }' "$work/batch.$rows"
done
echo
echo "all-reduce of one vector (published: 2.1 us for three hops, Abts et al., ISCA 2022)"
for chips in 8 64; do
  keep "all-reduce.$chips" "$tandem" lpu collective --device groq-lpu-v1-576 --chips $chips --bytes 320 --against 2.1e-6
  sed -n '/^all-reduce/p;/ 1280 /p;/^interval/p;/^published/p' "$work/all-reduce.$chips"
done
