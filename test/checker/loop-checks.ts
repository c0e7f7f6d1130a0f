// The explorations with event loops that channels and calls must pass, shipped, and that find the planted bugs.
import type { AnyProgram, Scenario } from './explore.ts';
import { loopScenarios } from './loop-scenarios.ts';
import type { RingLibrary } from './plants.ts';
import { rpcScenarios } from './rpc-scenarios.ts';

/** One exploration: a scenario from one start. */
export interface LoopCheck {
  /** Such as `loopStream from 0`. */
  readonly name: string;
  /** What to explore with one version of the library. The worlds differ; the explorer does not care. */
  readonly scenario: (lib: RingLibrary) => Scenario<unknown, AnyProgram<unknown>>;
}

/** At the start of a lane, and before its seam and the wrap at once. */
const STARTS = [
  { label: '0', at: 0 },
  { label: '2^32 - 48', at: -48 },
] as const;

/** Every scenario from every start, cut off after so many states that all of them together take a minute. */
export const LOOP_CHECKS: readonly LoopCheck[] = [...loopScenarios, ...rpcScenarios].flatMap((make) =>
  STARTS.map(({ label, at }) => ({
    name: `${make.name} from ${label}`,
    // The cast forgets which world it is: the explorer only hands it back to the scenario that made it.
    scenario: (lib) => ({ ...make(lib, { at }), maxStates: 6_000 }) as unknown as ReturnType<LoopCheck['scenario']>,
  })),
);
