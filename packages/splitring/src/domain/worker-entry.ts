// The module that a domain's worker runs. Its default export is the Piscina task: one call, the domain's whole life.
import { type MessagePort, receiveMessageOnPort } from 'node:worker_threads';
import type { GuestProgram } from '@splitring/frontend';
import {
  attach,
  type ControlMessage,
  type DomainKernel,
  EventLoopPump,
  type IdleOptions,
  pumpUntil,
  runDomain,
} from '@splitring/hypervisor';
import { SplitringError } from 'sharedarraybuffer-ring';
import { runDomainThread, type ThreadEnvironment } from './domain-thread.ts';
import { openNetworks } from './open-networks.ts';
import type { ThreadBoot, ThreadResult } from './thread-boot.ts';
import { eventLoopTurn, realClock, realRandom, timer, unrefSchedule } from './thread-time.ts';

/** Longest sleep of an idle loop: the bound of a wake-up that a dying peer never sent. */
const SLICE_MS = 100;

async function load(program: string): Promise<GuestProgram> {
  const module = (await import(program)) as { default?: unknown };
  if (typeof module.default !== 'function') {
    throw new SplitringError('BAD_PROGRAM', `Cannot run ${program}: export the program as default, see defineGuest`);
  }
  return module.default as GuestProgram; // a function; what it does with its guest is its own business
}

function accompany(kernel: DomainKernel, spinPolls: () => number): ReturnType<ThreadEnvironment['accompany']> {
  let reject: (error: unknown) => void = () => {};
  const failed = new Promise<never>((_, refuse) => {
    reject = refuse;
  });
  failed.catch(() => {}); // a failure after the program's end has nobody left to tell
  const pump = new EventLoopPump(kernel, { schedule: unrefSchedule, onError: reject, spinPolls });
  return { failed, stop: () => pump.stop() };
}

/** Live a domain's life. */
export default function liveDomain(boot: ThreadBoot): Promise<ThreadResult> {
  const { spinPolls } = boot;
  const idle: IdleOptions = {
    get spinPolls() {
      return spinPolls[0] ?? 0;
    },
    sliceMs: SLICE_MS,
    turn: eventLoopTurn,
    schedule: timer,
  };
  return runDomainThread(boot, {
    attach: ({ hypervisor, control }) => attach(hypervisor, controlPort(control)),
    clock: realClock,
    random: realRandom,
    load,
    openNetworks,
    park: (kernel, isDone) => runDomain(kernel, isDone, idle),
    accompany: (kernel) => accompany(kernel, () => idle.spinPolls),
    pump: (kernel, isDone) => {
      pumpUntil(kernel, isDone, idle);
    },
  });
}

/** The control channel as the hypervisor wants it: readable while this thread's event loop does not run. */
function controlPort(port: MessagePort | undefined): Parameters<typeof attach>[1] {
  if (port === undefined)
    throw new SplitringError('BAD_BOOT', 'Cannot start the domain: no control port in its boot data');
  return {
    post: (request) => port.postMessage(request),
    receive: () => receiveMessageOnPort(port)?.message as ControlMessage | undefined, // only the host has the other end
  };
}
