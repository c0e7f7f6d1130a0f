// A Piscina task that does nothing, in a worker that has imported what a domain's worker imports.
import '@splitring/backend';
import '@splitring/device';
import '@splitring/frontend';
import '@splitring/hypervisor';
import './boot.guest.ts';

/** The task: when did it start? */
export default function startedAtMs(): number {
  return performance.timeOrigin + performance.now();
}
