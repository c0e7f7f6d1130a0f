// Every suite of the repository. A new one is a folder beside `ring/` and a line here.
import { blockSuite } from './block/suite.ts';
import type { Suite } from './harness/contract.ts';
import { hypervisorSuite } from './hypervisor/suite.ts';
import { netSuite } from './net/suite.ts';
import { ringSuite } from './ring/suite.ts';

/** Suites in the order in which they run. */
export const suites: readonly Suite[] = [ringSuite, hypervisorSuite, blockSuite, netSuite];
