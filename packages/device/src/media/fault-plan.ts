// Faults on command: which commands of a disk go wrong, and how. By rule and by seed, so that a failure can be repeated.
import type { Random } from '@splitring/hypervisor';
import { MEDIUM_STATUS, type MediumStatus } from './medium.ts';

/** What a rule applies to. */
export type FaultOperation = 'read' | 'write' | 'flush' | 'discard';

/**
 * What happens to a command.
 * - `error`: it fails with `status` and does nothing.
 * - `stall`: it is never answered, until the controller is reset, the command aborted or FaultPlan.release() called.
 * - `unanswered`: it is carried out, but its answer gets lost: an abort does not find it, only a reset helps.
 * - `slow`: it starts `delayMs` later.
 * - `torn`: a write stops part of the way and is reported as done.
 * - `lost`: a write, a discard or a flush does nothing and is reported as done.
 * - `misdirected`: a read or write happens at another place of the disk.
 * - `corrupt`: one bit is wrong in what is read or written.
 */
export type FaultKind = 'error' | 'stall' | 'unanswered' | 'slow' | 'torn' | 'lost' | 'misdirected' | 'corrupt';

/** When a fault strikes. Everything optional narrows it. */
export interface FaultRule {
  /** What happens. */
  readonly kind: FaultKind;
  /** To these commands; default all that the kind can happen to. */
  readonly operations?: readonly FaultOperation[];
  /** Only in this namespace. */
  readonly nsid?: number;
  /** Only where the command touches bytes from here … */
  readonly fromByte?: number;
  /** … to here (exclusive). */
  readonly toByte?: number;
  /** Chance for each matching command, 0 … 1; default 1. */
  readonly probability?: number;
  /** Let that many matching commands pass first. */
  readonly skip?: number;
  /** Strike at most this often; default for ever. */
  readonly times?: number;
  /** For `slow`: how long. */
  readonly delayMs?: number;
  /** For `error`: the outcome; default MEDIUM_STATUS.failed. */
  readonly status?: Exclude<MediumStatus, 0>;
}

/** A fault that strikes one command, with its share of chance. */
export interface Fault {
  /** The rule. */
  readonly rule: FaultRule;
  /** For torn, misdirected and corrupt: where; uniform 32 bits. */
  readonly draw: number;
}

const APPLIES: Readonly<Record<FaultKind, readonly FaultOperation[]>> = {
  error: ['read', 'write', 'flush', 'discard'],
  stall: ['read', 'write', 'flush', 'discard'],
  unanswered: ['read', 'write'],
  slow: ['read', 'write', 'flush', 'discard'],
  torn: ['write'],
  lost: ['write', 'flush', 'discard'],
  misdirected: ['read', 'write'],
  corrupt: ['read', 'write'],
};

/**
 * The faults of one controller. Rules are tried in order; the first that strikes counts.
 *
 * @example
 * const faults = new FaultPlan(random);
 * faults.add({ kind: 'error', operations: ['read'], fromByte: 0, toByte: 4096, times: 1 });
 */
export class FaultPlan {
  /** Faults that struck, by kind. */
  readonly struck: Record<FaultKind, number> = {
    error: 0,
    stall: 0,
    unanswered: 0,
    slow: 0,
    torn: 0,
    lost: 0,
    misdirected: 0,
    corrupt: 0,
  };
  /** Set by the controller: lets stalled commands go on. */
  release: () => void = () => {};
  private readonly random: Random;
  private rules: { readonly rule: FaultRule; matched: number; struck: number }[] = [];

  /** @param random the seeded source of chance */
  constructor(random: Random) {
    this.random = random;
  }

  /** Add a rule. @throws RangeError for a kind that cannot happen to the operations named, or a bad number */
  add(rule: FaultRule): void {
    const impossible = rule.operations?.find((operation) => !APPLIES[rule.kind].includes(operation));
    if (impossible !== undefined)
      throw new RangeError(`Cannot add a fault: ${rule.kind} does not happen to ${impossible}`);
    const { probability = 1, delayMs = 0 } = rule;
    if (!(probability >= 0 && probability <= 1) || !(delayMs >= 0)) {
      throw new RangeError(`Cannot add a fault: probability ${probability} or delay ${delayMs} is out of range`);
    }
    this.rules.push({ rule, matched: 0, struck: 0 });
  }

  /** Forget all rules; what is stalled stays so until released. */
  clear(): void {
    this.rules = [];
  }

  /** Decide about one command; length 0 if it names no one range (flush, a list of ranges): rules with a range pass by. */
  decide(operation: FaultOperation, nsid: number, positionBytes: number, lengthBytes: number): Fault | undefined {
    for (const entry of this.rules) {
      const { rule } = entry;
      if (!matches(rule, operation, nsid, positionBytes, lengthBytes)) continue;
      if (entry.matched++ < (rule.skip ?? 0) || entry.struck >= (rule.times ?? Number.POSITIVE_INFINITY)) continue;
      const { probability = 1 } = rule;
      if (probability < 1 && this.random.nextU32() >= probability * 2 ** 32) continue;
      entry.struck++;
      this.struck[rule.kind]++;
      return { rule, draw: this.random.nextU32() };
    }
    return undefined;
  }
}

function matches(rule: FaultRule, operation: FaultOperation, nsid: number, position: number, length: number): boolean {
  if (!(rule.operations ?? APPLIES[rule.kind]).includes(operation)) return false;
  if (rule.nsid !== undefined && rule.nsid !== nsid) return false;
  if (length === 0) return rule.fromByte === undefined && rule.toByte === undefined;
  return position < (rule.toByte ?? Number.POSITIVE_INFINITY) && position + length > (rule.fromByte ?? 0);
}

/** The outcome an `error` fault reports. */
export function faultStatus(fault: Fault): MediumStatus {
  return fault.rule.status ?? MEDIUM_STATUS.failed;
}
