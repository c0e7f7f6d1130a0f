// The explorations that the rings must pass, shipped, and that find the planted bugs.
import type { Scenario } from './explore.ts';
import type { RingLibrary } from './plants.ts';
import {
  byteStream,
  fixedBatched,
  fixedMany,
  fixedProducerKilled,
  fixedStream,
  type StreamWorld,
} from './stream-scenarios.ts';
import {
  type XenWorld,
  xenBackKilled,
  xenBlocking,
  xenHostileBack,
  xenHostileFront,
  xenLarger,
} from './xen-scenarios.ts';

/** One exploration: a scenario, a start index, strong or weak stores. */
export interface RingCheck {
  /** Such as `xenBlocking from 2^31, weak stores`. */
  readonly name: string;
  /** The sources it exercises: plants elsewhere are not its business. */
  readonly files: readonly string[];
  /** What to explore with one version of the library. */
  readonly scenario: (lib: RingLibrary) => Scenario<XenWorld> | Scenario<StreamWorld>;
}

const XEN = ['front-ring.ts', 'back-ring.ts', 'ring-layout.ts', 'ring-slots.ts'];
const FIXED = ['fixed-ring.ts', 'fixed-producer.ts', 'fixed-consumer.ts', 'slot-buffer.ts'];
const SCENARIOS = [
  { make: xenBlocking, files: XEN },
  { make: xenLarger, files: XEN },
  { make: xenBackKilled, files: XEN },
  { make: xenHostileFront, files: XEN },
  { make: xenHostileBack, files: XEN },
  { make: fixedStream, files: FIXED },
  { make: fixedBatched, files: FIXED },
  { make: fixedMany, files: FIXED },
  { make: fixedProducerKilled, files: FIXED },
  { make: byteStream, files: ['byte-ring.ts'] },
] as const;
// Just before zero, the sign bit and the wrap, so that each run crosses them.
const VARIANTS = [
  { label: 'from 0', at: 0, weakStores: false },
  { label: 'from 2^31 - 1', at: 2 ** 31 - 1, weakStores: false },
  { label: 'from 2^32 - 1', at: 2 ** 32 - 1, weakStores: false },
  { label: 'from 0, weak stores', at: 0, weakStores: true },
] as const;

/** Every scenario from every start. A death with weak stores is left to the scenarios without one: too many states. */
export const RING_CHECKS: readonly RingCheck[] = SCENARIOS.flatMap(({ make, files }) =>
  VARIANTS.filter(({ weakStores }) => !weakStores || !/Killed|Hostile/.test(make.name)).map(
    ({ label, at, weakStores }) => ({
      name: `${make.name} ${label}`,
      files,
      scenario: (lib) => ({ ...make(lib, at), weakStores }) as Scenario<XenWorld> | Scenario<StreamWorld>, // one of both
    }),
  ),
);
