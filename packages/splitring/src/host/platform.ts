// What a host stands on: real threads, files and time, or their simulated counterparts.
import { availableParallelism } from 'node:os';
import { MessageChannel, type MessagePort } from 'node:worker_threads';
import {
  type Clock,
  type Domain,
  type DomainHost,
  type DomainKernel,
  EventLoopPump,
  type Hypervisor,
  type Random,
} from '@splitring/hypervisor';
import { PiscinaDomainHost } from '../domain/piscina-domain-host.ts';
import { realClock, realRandom, unrefSchedule } from '../domain/thread-time.ts';

/** A control channel: the domain's end, to be transferred, and how to close it after the fence. */
export interface ControlChannel {
  /** The domain's end; undefined where calls take its place. */
  readonly port: MessagePort | undefined;
  /** Messages that went through, both ways. */
  readonly messages: () => number;
  /** Close it. Idempotent. */
  readonly close: () => void;
}

/** What a host stands on. */
export interface HostPlatform {
  /** Time. */
  readonly clock: Clock;
  /** Chance. */
  readonly random: Random;
  /** Where domains run. */
  readonly domains: DomainHost;
  /** The module that a domain's thread runs. */
  readonly threadEntry: string;
  /** Open the control channel of a domain that has been built. */
  connect(hypervisor: Hypervisor, domain: Domain): ControlChannel;
  /** Keep domain 0's kernel moving until `stop`. */
  accompany(kernel: DomainKernel, onError: (error: unknown) => void): { readonly stop: () => void };
  /** Empty polls before an idle loop sleeps, when `domains` domains run. */
  spinPolls(kind: 'driver' | 'guest', domains: number): number;
}

/** Some 100 µs: longer than a cached read takes, shorter than anybody's patience with a fan. */
const SPIN_POLLS = 2000;

function connect(hypervisor: Hypervisor, { domid }: Domain): ControlChannel {
  const { port1, port2 } = new MessageChannel();
  let messages = 0;
  const serve = hypervisor.connect(domid, {
    post: (message) => {
      messages += 1;
      port1.postMessage(message);
    },
  });
  port1.on('message', (request: unknown) => {
    messages += 1;
    serve(request);
  });
  port1.unref(); // the domain's task keeps the process alive, its control channel need not
  return { port: port2, messages: () => messages, close: () => port1.close() };
}

/** Threads by Piscina, time and chance of the process. */
export function realPlatform(): HostPlatform {
  return {
    clock: realClock,
    random: realRandom,
    domains: new PiscinaDomainHost(),
    threadEntry: new URL(
      import.meta.url.endsWith('.ts') ? '../domain/worker-entry.ts' : '../domain/worker-entry.js',
      import.meta.url,
    ).href,
    connect,
    accompany: (kernel, onError) => {
      const pump = new EventLoopPump(kernel, { schedule: unrefSchedule, onError });
      return { stop: () => pump.stop() };
    },
    // A guest that spins without a core of its own takes the driver domain's; that alone makes everybody slower.
    spinPolls: (kind, domains) => {
      const cores = availableParallelism();
      return cores > 1 && (kind === 'driver' || domains <= cores) ? SPIN_POLLS : 0;
    },
  };
}
