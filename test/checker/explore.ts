// Try every interleaving of two or more ends at every access to shared memory, on the shipped code.
//
// There are no coroutines here. An end is a deterministic program: its private state is a function of what it read. So
// an end is advanced by running it from its start with the results of its past accesses replayed, letting one more access
// happen on the real memory, and stopping it by an exception at the next one. States met before (same memory, same pasts)
// are not explored again, which makes small configurations exhaustive. Between any two accesses an end may be killed.
import type { EndProgram, LoopProgram } from './end-run.ts';
import type { LoopProbe } from './loop-replay.ts';
import { observe, observeLoops } from './monitor.ts';
import type { Probe } from './replay.ts';
import { type AnyProgram, type Exploration, judge, type Outcome, type Scenario, Search } from './search.ts';

export type { AnyProgram, EndProgram, Exploration, LoopProbe, LoopProgram, Outcome, Probe, Scenario };

/** Explore `scenario` and report. Throws only if an end is not deterministic. */
export function explore<W>(scenario: Scenario<W>): Exploration {
  const { buffers, world } = scenario.setup();
  return observe(judge, buffers, () => {
    const search = new Search(scenario, world, buffers);
    for (let trial = search.next(); trial !== undefined; trial = search.next()) {
      const move = trial.act();
      if (move instanceof Promise) throw new Error('an end with an event loop: explore it with exploreLoops');
      search.took(trial, move);
    }
    return search.report();
  });
}

/** `explore` for ends of which some live on an event loop: their waits, timers and messages are steps of the schedule. */
export function exploreLoops<W>(scenario: Scenario<W, AnyProgram<W>>): Promise<Exploration> {
  const { buffers, world } = scenario.setup();
  return observeLoops(judge, buffers, async () => {
    const search = new Search(scenario, world, buffers);
    for (let trial = search.next(); trial !== undefined; trial = search.next()) search.took(trial, await trial.act());
    return search.report();
  });
}
