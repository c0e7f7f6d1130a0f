// Two domains on one thread, with memory of one granted to the other: what most subjects start from.
import {
  type DomainHypercalls,
  type FrameNumber,
  type FrameRun,
  type GrantRef,
  Hypervisor,
} from '@splitring/hypervisor';
import { GRANTS } from './params.ts';

/** A guest that has granted frames to a driver domain. */
export interface Machine {
  /** Whose frames they are. */
  readonly guest: DomainHypercalls;
  /** Who may map them. */
  readonly driver: DomainHypercalls;
  /** The frames. */
  readonly run: FrameRun;
  /** Their grants, in order. */
  readonly refs: readonly GrantRef[];
}

/** Make one. */
export function makeMachine(): Machine {
  const hypervisor = new Hypervisor();
  const guest = hypervisor.attachInThread(hypervisor.createDomain({ name: 'guest' }));
  const driver = hypervisor.attachInThread(hypervisor.createDomain({ name: 'driver' }));
  const run = guest.allocateFrames(driver.domid, GRANTS);
  const refs = Array.from({ length: GRANTS }, (_, i) =>
    guest.grantAccess(driver.domid, (run.first + i) as FrameNumber, false),
  );
  return { guest, driver, run, refs };
}

/** Time calls of `once`, nanoseconds each. */
export function time(operations: number, once: () => void): number {
  const from = process.hrtime.bigint();
  for (let i = 0; i < operations; i++) once();
  return Number(process.hrtime.bigint() - from) / operations;
}
