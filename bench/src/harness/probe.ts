// How far apart are the two cores just now?
//
// The cores of a virtual machine sit near each other (one cache) or far (two) from one minute to the next, and every
// figure moves with that up to threefold. The probe bounces one word between two spinning threads: about 130 ns per round
// trip when near, 550 and more when far. It runs before and after every sample.
import { SubjectError, SubjectProcess } from './subject-process.ts';

const ROUND_TRIPS = 600;

/** Measures core-to-core round trips in a process of its own. */
export class LatencyProbe {
  readonly #subject: SubjectProcess;
  readonly kind: 'native' | 'JavaScript';
  readonly #seen: number[] = [];

  private constructor(subject: SubjectProcess, kind: 'native' | 'JavaScript') {
    this.#subject = subject;
    this.kind = kind;
  }

  /** Start the native probe, or the JavaScript one where no compiler is. */
  static async start(): Promise<LatencyProbe> {
    const start = async (run: Parameters<typeof SubjectProcess.start>[0]['run'], kind: LatencyProbe['kind']) => {
      const probe = new LatencyProbe(await SubjectProcess.start({ name: 'probe', baselines: [], run }), kind);
      for (let i = 0; i < 20; i++) await probe.measure();
      probe.#seen.length = 0;
      return probe;
    };
    try {
      return await start({ native: 'ring', args: ['roundtrip', 'spin'] }, 'native');
    } catch (error) {
      if (!(error instanceof SubjectError)) throw error;
      const module = new URL('./probe-subject.js', import.meta.url).href;
      return await start({ module, params: {} }, 'JavaScript');
    }
  }

  /** Nanoseconds of the median round trip between two cores, now. */
  async measure(): Promise<number> {
    const { value } = await this.#subject.trial(ROUND_TRIPS);
    this.#seen.push(value);
    return value;
  }

  /** All measurements so far, in ns. */
  get history(): readonly number[] {
    return this.#seen;
  }

  /** End the probe's process. */
  async stop(): Promise<void> {
    await this.#subject.stop();
  }
}

/** True if the cores moved (or something else ran) between two probes. */
export function isMixed(beforeNs: number, afterNs: number): boolean {
  return Math.max(beforeNs, afterNs) > 1.6 * Math.min(beforeNs, afterNs);
}
