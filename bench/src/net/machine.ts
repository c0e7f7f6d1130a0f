// A machine for measurements: host thread, a driver domain with a bridge, guests; all connected as in real use.
import { readFileSync } from 'node:fs';
import { MessageChannel, Worker } from 'node:worker_threads';
import {
  attachDevice,
  type Domain,
  DomainKernel,
  EventLoopPump,
  Hypervisor,
  type MemorySource,
  MemoryStore,
  prepareDomain,
  type StoreCallback,
  separateBuffers,
  sharedWasmMemory,
  wasmMemoryPerExtent,
  XenstoreServer,
} from '@splitring/hypervisor';
import { pinThread } from '../harness/affinity.ts';
import { monotonicNs } from '../harness/pair.ts';
import type { DomainData, DomainReport } from './domain-worker.ts';
import { CONTROL, type NetParams } from './params.ts';

const clock = { nowMs: () => performance.now() };

/** A running thread, and what it says next. */
class DomainThread {
  readonly worker: Worker;
  #next: Waiting | undefined;
  #failure: unknown;

  constructor(data: DomainData, port: DomainData['port']) {
    this.worker = new Worker(new URL('./domain-worker.js', import.meta.url), {
      workerData: data,
      transferList: [port],
    });
    this.worker.on('message', (message) => this.#next?.resolve(message));
    this.worker.on('error', (error) => {
      this.#failure = error;
      this.#next?.reject(error);
    });
  }

  /** The next message; ask for it before it can come. */
  next<T>(): Promise<T> {
    return new Promise((resolve, reject) => {
      this.#next = { resolve: (message) => resolve(message as T), reject }; // both ends are ours
      if (this.#failure !== undefined) reject(this.#failure);
    });
  }
}

interface Waiting {
  readonly resolve: (message: unknown) => void;
  readonly reject: (error: unknown) => void;
}

/** Enough for the extents of 18 guests. */
const SHARED_BYTES = 256 << 20;

function memorySource(kind: NetParams['memory']): MemorySource {
  if (kind === 'shared') return sharedWasmMemory(SHARED_BYTES);
  return kind === 'separate-wasm' ? wasmMemoryPerExtent() : separateBuffers;
}

/** A running machine. */
export class NetMachine {
  readonly #params: NetParams;
  readonly #control = new SharedArrayBuffer(64);
  readonly #words = new Int32Array(this.#control);
  readonly #hypervisor: Hypervisor;
  readonly #kernel: DomainKernel;
  readonly #server: XenstoreServer;
  readonly #store;
  readonly #pump: EventLoopPump;
  readonly #threads: DomainThread[] = [];
  readonly #keepAlive = setInterval(() => undefined, 1000);
  #driverThread: number | undefined;

  private constructor(params: NetParams) {
    this.#params = params;
    this.#hypervisor = new Hypervisor({ memory: memorySource(params.memory) });
    this.#server = new XenstoreServer({ store: new MemoryStore(), clock });
    this.#store = this.#server.directClient();
    const { dom0 } = this.#hypervisor;
    this.#kernel = new DomainKernel({
      hypercalls: dom0,
      clock,
      random: { nextU32: () => 4 },
      connectStore: () => this.#store,
    });
    this.#kernel.add(this.#server);
    this.#kernel.add(this.#store);
    const schedule = (callback: () => void, ms: number) => {
      const timer = setTimeout(callback, ms);
      return () => clearTimeout(timer);
    };
    const onError = (error: unknown) => {
      throw error;
    };
    this.#pump = new EventLoopPump(this.#kernel, { schedule, onError });
  }

  /** Build it and wait until every card is connected. */
  static async start(params: NetParams): Promise<NetMachine> {
    const machine = new NetMachine(params);
    const driver = machine.#hypervisor.createDomain({ name: 'net' });
    const { starts } = await machine.#run(driver, { kind: 'driver', index: 0 });
    machine.#driverThread = (await starts).thread;
    // Where all block, as in a plain chain of workers, nobody has a core for itself.
    const isPinned = params.driverSpins > 0;
    if (isPinned) pinThread(machine.#driverThread, 1);
    const total = params.guests + (params.beside === 'nobody' ? 0 : 2);
    const starting: Promise<Started>[] = [];
    for (let index = 0; index < total; index++) {
      const guest = machine.#hypervisor.createDomain({ name: `guest${index}` });
      starting.push((await machine.#run(guest, { kind: 'guest', index })).starts);
      const attachment = {
        type: 'vif',
        id: '0',
        front: guest.domid,
        back: driver.domid,
        backKeys: { bridge: 'lan0' },
      };
      await machine.#ask((then) => attachDevice(machine.#store, attachment, then));
    }
    const threads = await Promise.all(starting);
    if (isPinned) for (const { thread } of threads) pinThread(thread, 0);
    return machine;
  }

  /** Run one trial: `operations` frames by each measured sender. @returns their reports, and how long it took */
  async trial(operations: number): Promise<{
    reports: DomainReport[];
    /** When each of them was done, counted from the start. */
    endsNs: number[];
    driverCpuNs: number;
  }> {
    const before = this.#driverCpuNs();
    const all = this.#threads.slice(1).map((thread) => thread.next<DomainReport>());
    const fromNs = monotonicNs();
    this.#words[CONTROL.operations] = operations;
    Atomics.add(this.#words, CONTROL.start, 1);
    Atomics.notify(this.#words, CONTROL.start);
    const reports = await Promise.all(all.slice(0, this.#params.guests));
    const driverCpuNs = this.#driverCpuNs() - before;
    Atomics.add(this.#words, CONTROL.stop, 1);
    await Promise.all(all);
    return { reports, endsNs: reports.map((report) => report.endNs - fromNs), driverCpuNs };
  }

  /** End every thread. */
  async close(): Promise<void> {
    this.#pump.stop();
    clearInterval(this.#keepAlive);
    await Promise.all(this.#threads.map(({ worker }) => worker.terminate()));
  }

  /** Start a domain's thread, the driver domain's first. @returns once the domain is known; `starts` when it runs */
  async #run(domain: Domain, role: DomainData['role']): Promise<{ starts: Promise<Started> }> {
    const { dom0 } = this.#hypervisor;
    await this.#ask((then) => prepareDomain(this.#store, domain.domid, domain.name, then));
    this.#server.introduce({
      domid: domain.domid,
      generation: domain.generation,
      page: domain.store.page.bytes,
      notify: () => dom0.notify(domain.store.port),
    });
    const { port1, port2 } = new MessageChannel();
    const serve = this.#hypervisor.connect(domain.domid, { post: (message) => port1.postMessage(message) });
    port1.on('message', (request: unknown) => {
      serve(request);
      this.#kernel.requestPoll();
    });
    const data: DomainData = { boot: domain.boot, port: port2, role, params: this.#params, control: this.#control };
    const thread = new DomainThread(data, port2);
    this.#threads.push(thread);
    return { starts: thread.next<Started>() };
  }

  #ask(start: (then: StoreCallback<void>) => void): Promise<void> {
    return new Promise((resolve, reject) => {
      start((reply) => (reply.ok ? resolve() : reject(new Error(reply.error))));
      this.#kernel.requestPoll();
    });
  }

  /** CPU time of the driver domain's thread, read from outside: it never stops to tell. */
  #driverCpuNs(): number {
    try {
      return Number.parseInt(readFileSync(`/proc/self/task/${this.#driverThread}/schedstat`, 'latin1'), 10);
    } catch {
      return Number.NaN;
    }
  }
}

/** What a thread says first. */
interface Started {
  readonly thread: number | undefined;
}
