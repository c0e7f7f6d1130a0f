// A machine for measurements: host thread, a driver domain with a bridge, guests; all connected as in real use.
import { readFileSync } from 'node:fs';
import { MessageChannel, Worker } from 'node:worker_threads';
import {
  attachDevice,
  type Domain,
  DomainKernel,
  EventLoopPump,
  Hypervisor,
  MemoryStore,
  prepareDomain,
  type StoreCallback,
  XenstoreServer,
} from '@splitring/hypervisor';
import { monotonicNs } from '../harness/pair.ts';
import type { DomainData, DomainReport } from './domain-worker.ts';
import type { NetParams } from './params.ts';

/** Words of the control buffer. */
export const CONTROL = { start: 0, operations: 1, stop: 2 } as const;

const clock = { nowMs: () => performance.now() };

interface Running {
  readonly worker: Worker;
  readonly thread: number | undefined;
  /** The next report. */
  report: Promise<DomainReport>;
}

/** A running machine. */
export class NetMachine {
  readonly #control = new SharedArrayBuffer(64);
  readonly #words = new Int32Array(this.#control);
  readonly #hypervisor = new Hypervisor();
  readonly #kernel: DomainKernel;
  readonly #server: XenstoreServer;
  readonly #store;
  readonly #pump: EventLoopPump;
  readonly #guests: Running[] = [];
  readonly #keepAlive = setInterval(() => undefined, 1000);
  #driver: Running | undefined;

  private constructor() {
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
    this.#pump = new EventLoopPump(this.#kernel, schedule, (error) => {
      throw error;
    });
  }

  /** Build it and wait until every card is connected. */
  static async start(params: NetParams): Promise<NetMachine> {
    const machine = new NetMachine();
    const driver = machine.#hypervisor.createDomain({ name: 'net' });
    machine.#driver = await machine.#run(driver, { kind: 'driver', index: 0 }, params);
    const total = params.guests + params.flooders + (params.flooders > 0 ? 1 : 0);
    const starting: Promise<Running>[] = [];
    for (let index = 0; index < total; index++) {
      const guest = machine.#hypervisor.createDomain({ name: `guest${index}` });
      const starts = machine.#run(guest, { kind: 'guest', index }, params);
      const attachment = {
        type: 'vif',
        id: '0',
        front: guest.domid,
        back: driver.domid,
        backKeys: { bridge: 'lan0' },
      };
      await machine.#ask((then) => attachDevice(machine.#store, attachment, then));
      starting.push(starts);
    }
    machine.#guests.push(...(await Promise.all(starting)));
    return machine;
  }

  /** Run one trial: `operations` frames by each sender. @returns reports of the guests, and how long it took */
  async trial(operations: number): Promise<{ reports: DomainReport[]; elapsedNs: number; driverCpuNs: number }> {
    const before = this.#driverCpuNs();
    const reports = this.#guests.map((guest) => guest.report);
    const fromNs = monotonicNs();
    this.#words[CONTROL.operations] = operations;
    Atomics.add(this.#words, CONTROL.start, 1);
    Atomics.notify(this.#words, CONTROL.start);
    const done = await Promise.all(reports);
    const endNs = Math.max(...done.map((report) => report.endNs));
    return { reports: done, elapsedNs: endNs - fromNs, driverCpuNs: this.#driverCpuNs() - before };
  }

  /** End every thread. */
  async close(): Promise<void> {
    this.#pump.stop();
    clearInterval(this.#keepAlive);
    await Promise.all([this.#driver, ...this.#guests].map((running) => running?.worker.terminate()));
  }

  async #run(domain: Domain, role: DomainData['role'], params: NetParams): Promise<Running> {
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
    const data: DomainData = { boot: domain.boot, port: port2, role, params, control: this.#control };
    const worker = new Worker(new URL('./domain-worker.js', import.meta.url), {
      workerData: data,
      transferList: [port2],
    });
    const thread = await this.#message<{ thread: number | undefined }>(worker);
    const running: Running = { worker, thread: thread.thread, report: this.#message<DomainReport>(worker) };
    worker.on('message', () => {
      running.report = this.#message<DomainReport>(worker);
    });
    return running;
  }

  #message<T>(worker: Worker): Promise<T> {
    const message = new Promise<T>((resolve, reject) => {
      worker.once('message', resolve);
      worker.once('error', reject);
    });
    message.catch(() => undefined); // told where it is awaited
    return message;
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
      return Number.parseInt(readFileSync(`/proc/self/task/${this.#driver?.thread}/schedstat`, 'latin1'), 10);
    } catch {
      return Number.NaN;
    }
  }
}
