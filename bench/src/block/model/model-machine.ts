// A machine for the model benchmark: two driver domains with a guest each, alike but for the disk below the back end.
import { MessageChannel, Worker } from 'node:worker_threads';
import {
  attachDevice,
  type Domain,
  DomainKernel,
  type DomId,
  EventLoopPump,
  Hypervisor,
  MemoryStore,
  prepareDomain,
  type RoutingId,
  routingId,
  type StoreCallback,
  XenstoreServer,
} from '@splitring/hypervisor';
import { pinThread } from '../../harness/affinity.ts';
import type { BlockParams } from '../params.ts';
import { MODEL } from './model-words.ts';
import type { ModelData } from './model-worker.ts';

const CLOCK = { nowMs: () => performance.now() };
const CONTROLLER = routingId(0, 4, 0);
/** `xvda`. */
const DEVICE = '51712';

/** One driver domain and its guest, ready for trials. */
export class ModelPath {
  private readonly words: Int32Array;
  private readonly result: Float64Array;

  constructor(control: SharedArrayBuffer, result: SharedArrayBuffer) {
    this.words = new Int32Array(control);
    this.result = new Float64Array(result);
  }

  /** Nanoseconds per operation of `operations` operations. */
  async run(operations: number): Promise<number> {
    const { words } = this;
    words[MODEL.operations] = operations;
    const seen = Atomics.load(words, MODEL.done);
    Atomics.add(words, MODEL.start, 1);
    Atomics.notify(words, MODEL.start);
    while (Atomics.load(words, MODEL.done) === seen) {
      const wait = Atomics.waitAsync(words, MODEL.done, seen, 1000);
      if (wait.async) await wait.value;
    }
    return this.result[0] ?? Number.NaN;
  }
}

/** Hypervisor, xenstore and toolstack of both paths. */
export class ModelMachine {
  readonly #image: string;
  readonly #params: BlockParams;
  readonly #hypervisor = new Hypervisor();
  readonly #server = new XenstoreServer({ store: new MemoryStore(), clock: CLOCK });
  readonly #store = this.#server.directClient();
  readonly #kernel: DomainKernel;
  readonly #pump: EventLoopPump;
  readonly #workers: Worker[] = [];
  readonly #keepAlive = setInterval(() => undefined, 1000);

  constructor(image: string, params: BlockParams) {
    this.#image = image;
    this.#params = params;
    this.#kernel = new DomainKernel({
      hypercalls: this.#hypervisor.dom0,
      clock: CLOCK,
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

  /** Start a path: with the modeled controller behind the IOMMU, or with a disk that has neither. */
  async start(kind: 'modeled' | 'direct'): Promise<ModelPath> {
    const control = new SharedArrayBuffer(MODEL.words * 4);
    const result = new SharedArrayBuffer(8);
    const driver = this.#hypervisor.createDomain({ name: `${kind}-io` });
    const controller = kind === 'modeled' ? CONTROLLER : undefined;
    if (controller !== undefined) {
      this.#hypervisor.pci.add(controller, driver.domid);
      this.#hypervisor.pci.assign(controller, driver.domid, driver.generation);
    }
    await this.#prepare(driver);
    await this.#run(driver, { role: 'driver', controller, control, result }, 1);
    const guest = this.#hypervisor.createDomain({ name: `${kind}-guest` });
    await this.#prepare(guest);
    await this.#attach(guest.domid, driver.domid);
    await this.#run(guest, { role: 'guest', controller, control, result }, 0);
    return new ModelPath(control, result);
  }

  /** End every thread. */
  async close(): Promise<void> {
    this.#pump.stop();
    clearInterval(this.#keepAlive);
    await Promise.all(this.#workers.map((worker) => worker.terminate()));
  }

  #prepare({ domid, name }: Domain): Promise<void> {
    return this.#ask((then) => prepareDomain(this.#store, domid, name, then));
  }

  #attach(front: DomId, back: DomId): Promise<void> {
    const backKeys = { params: 'vol0', mode: 'w' };
    const frontKeys = { 'virtual-device': DEVICE, 'device-type': 'disk' };
    const device = { type: 'vbd', id: DEVICE, front, back, frontKeys, backKeys };
    return this.#ask((then) => attachDevice(this.#store, device, then));
  }

  /** Start a domain's thread on a core of its kind, and wait until it says that it is ready. */
  async #run(
    domain: Domain,
    part: Pick<ModelData, 'role' | 'control' | 'result'> & { readonly controller: RoutingId | undefined },
    half: 0 | 1,
  ): Promise<void> {
    const { dom0 } = this.#hypervisor;
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
    const workerData: ModelData = { boot: domain.boot, port: port2, image: this.#image, params: this.#params, ...part };
    const worker = new Worker(new URL('./model-worker.js', import.meta.url), { workerData, transferList: [port2] });
    this.#workers.push(worker);
    const thread = await new Promise<number | undefined>((resolve, reject) => {
      worker.once('message', resolve);
      worker.once('error', reject);
    });
    pinThread(thread, half);
  }

  #ask(start: (then: StoreCallback<void>) => void): Promise<void> {
    return new Promise((resolve, reject) => {
      start((reply) => (reply.ok ? resolve() : reject(new Error(reply.error))));
      this.#kernel.requestPoll();
    });
  }
}
