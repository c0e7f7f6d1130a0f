// One queue pair of a network front end: two rings and the event channels that go with them.
import type { DomId, EvtchnPort, Kernel } from '@splitring/hypervisor';
import type { ProtocolError } from 'sharedarraybuffer-ring';
import { deferredGrants } from '../deferred-grants.ts';
import type { NicCounters } from './net-counters.ts';
import type { QueueWiring } from './queue-wiring.ts';
import { NetRxQueue } from './rx-queue.ts';
import { NetTxQueue } from './tx-queue.ts';

/** What a queue pair is made for. */
export interface NicQueueOptions {
  /** Name for errors. */
  readonly name: string;
  /** The back end's domain. */
  readonly peer: DomId;
  /** Use one event channel for each direction. */
  readonly hasSplitChannels: boolean;
}

/**
 * A transmit and a receive ring with their pages, granted and ready for a back end to map.
 *
 * @example
 * const queue = new NicQueue(kernel, { name: 'vif 0', peer, hasSplitChannels: true }, counters);
 * publish(queue.keys());
 */
export class NicQueue {
  /** Transmit half. */
  readonly tx: NetTxQueue;
  /** Receive half. */
  readonly rx: NetRxQueue;
  private readonly kernel: Kernel;
  private readonly ports: readonly EvtchnPort[];

  /** Allocate rings, pages and ports. @throws HypercallError when something is short; nothing stays allocated then */
  constructor(kernel: Kernel, options: NicQueueOptions, counters: NicCounters) {
    const { hypercalls } = kernel;
    this.kernel = kernel;
    const ports: EvtchnPort[] = [];
    this.ports = ports;
    let tx: NetTxQueue | undefined;
    try {
      const txPort = hypercalls.allocUnbound(options.peer);
      ports.push(txPort);
      const rxPort = options.hasSplitChannels ? hypercalls.allocUnbound(options.peer) : txPort;
      if (rxPort !== txPort) ports.push(rxPort);
      const wiring: QueueWiring = { name: options.name, peer: options.peer, txPort, rxPort };
      tx = new NetTxQueue(hypercalls, wiring, counters);
      this.tx = tx;
      this.rx = new NetRxQueue(hypercalls, wiring, counters);
    } catch (error) {
      tx?.release(); // no back end knows of it yet
      for (const port of ports) hypercalls.closePort(port);
      throw error;
    }
    for (const port of ports) kernel.onPeerEvent(port, () => (this.tx.taken + this.rx.taken) | 0);
  }

  /** The protocol breach that ended this queue's use, if any. */
  get broken(): ProtocolError | undefined {
    return this.tx.broken ?? this.rx.broken;
  }

  /** What the back end needs to know, by key name without the `queue-N/` prefix. */
  keys(): Readonly<Record<string, number>> {
    const refs = {
      'tx-ring-ref': this.tx.ringPages.refs[0] as number, // a ring has one page
      'rx-ring-ref': this.rx.ringPages.refs[0] as number,
    };
    const [txPort, rxPort] = this.ports;
    if (rxPort === undefined) return { ...refs, 'event-channel': txPort as number };
    return { ...refs, 'event-channel-tx': txPort as number, 'event-channel-rx': rxPort };
  }

  /** Close the ports, end the grants, give the pages back. @returns frames lost unanswered */
  release(): number {
    for (const port of this.ports) {
      this.kernel.offEvent(port);
      this.kernel.hypercalls.closePort(port);
    }
    const { unanswered } = this.tx;
    deferredGrants(this.kernel).add([...this.rx.release(), ...this.tx.release()]);
    return unanswered;
  }
}
