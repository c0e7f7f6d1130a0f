// Rules of a cable's faults: which frames they hit, and when. What happens to these, the cable knows.
import type { Random } from '@splitring/hypervisor';

/** What a rule does: to single frames, or (`partition`) to the cable, which has no carrier while the rule holds. */
export type LinkRuleKind = 'loss' | 'duplication' | 'corruption' | 'reordering' | 'delay' | 'partition';

/** A fault on command. Without limits it hits every frame for ever. */
export interface LinkRule {
  readonly kind: LinkRuleKind;
  /** Only frames sent from this end: the first (`near`) or the other (`far`). Not of a partition. */
  readonly from?: 'near' | 'far';
  /** Begin so many milliseconds after the rules were set. */
  readonly fromMs?: number;
  /** End so many milliseconds after the rules were set. */
  readonly toMs?: number;
  /** Let so many frames of each end pass first. Not of a partition. */
  readonly skip?: number;
  /** Hit at most so many frames of each end. Not of a partition. */
  readonly times?: number;
  /** Share of the frames that could be hit which are, 0 … 1; all by default. Not of a partition. */
  readonly share?: number;
  /** Of a `delay`: milliseconds on top; the frames behind it wait with it. */
  readonly delayMs?: number;
}

interface Counted {
  readonly rule: LinkRule;
  seen: number;
  hits: number;
}

/** The rules for frames of one end. */
export class LinkRules {
  readonly #rules: readonly Counted[];
  readonly #random: Random;

  /** Rules of `rules` that concern frames from `end`. */
  constructor(rules: readonly LinkRule[], end: 'near' | 'far', random: Random) {
    const concerned = rules.filter(({ kind, from }) => kind !== 'partition' && (from ?? end) === end);
    this.#rules = concerned.map((rule) => ({ rule, seen: 0, hits: 0 }));
    this.#random = random;
  }

  /** Whether a rule of `kind` hits the frame that is sent `sinceMs` after the rules were set. @returns the rule */
  hit(kind: LinkRuleKind, sinceMs: number): LinkRule | undefined {
    let found: LinkRule | undefined;
    for (const counted of this.#rules) {
      const { rule } = counted;
      if (rule.kind !== kind || !isDuring(rule, sinceMs)) continue;
      counted.seen += 1; // every rule counts for itself, also behind one that hits
      if (counted.seen <= (rule.skip ?? 0) || counted.hits >= (rule.times ?? Number.POSITIVE_INFINITY)) continue;
      if (rule.share !== undefined && this.#random.nextU32() >= rule.share * 0x1_0000_0000) continue;
      counted.hits += 1;
      found ??= rule;
    }
    return found;
  }
}

/** Whether `rules` part the cable `sinceMs` after they were set, and when that may change next. */
export function partition(rules: readonly LinkRule[], sinceMs: number): { isParted: boolean; untilMs: number } {
  let isParted = false;
  let untilMs = Number.POSITIVE_INFINITY;
  for (const rule of rules) {
    if (rule.kind !== 'partition') continue;
    if (isDuring(rule, sinceMs)) isParted = true;
    for (const edge of [rule.fromMs ?? 0, rule.toMs ?? Number.POSITIVE_INFINITY]) {
      if (edge > sinceMs) untilMs = Math.min(untilMs, edge);
    }
  }
  return { isParted, untilMs };
}

function isDuring({ fromMs = 0, toMs = Number.POSITIVE_INFINITY }: LinkRule, sinceMs: number): boolean {
  return sinceMs >= fromMs && sinceMs < toMs;
}
