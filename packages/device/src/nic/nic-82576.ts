// A network card at its registers, after the Intel 82576: descriptor rings, filters, offloads, interrupts, statistics.
import type { BusMaster, Clock, DeviceModel } from '@splitring/hypervisor';
import type { EthernetWire } from './ethernet-wire.ts';
import { createNicModelCounters, type NicModelCounters } from './nic-counters.ts';
import { NicDma } from './nic-dma.ts';
import { NicFilter } from './nic-filter.ts';
import { NicInterrupts } from './nic-interrupts.ts';
import { NicQueueState } from './nic-queue-state.ts';
import { RECEIVE, receiveFrame } from './nic-receive.ts';
import {
  IVAR_VALID,
  NIC_CTRL,
  NIC_QUEUE_STRIDE,
  NIC_QUEUES,
  NIC_RCTL,
  NIC_REG,
  NIC_STATUS,
  NIC_VECTORS,
  TCTL_ENABLE,
} from './nic-registers.ts';
import { NicTransmit } from './nic-transmit.ts';

/** What a card is made of. */
export interface NicOptions {
  /** The address in its memory, six bytes. */
  readonly mac: Uint8Array;
  /** The cable: frames leave and arrive through it. */
  readonly wire: EthernetWire;
  /** Time, for interrupt moderation. */
  readonly clock: Clock;
}

const BAR_BYTES = 0x20_000;
/** Descriptors fetched from one queue in a poll. */
const BURST = 64;
/** Frames that may wait inside the card for the next poll. */
const FIFO_FRAMES = 256;
const MAX_STANDARD_BYTES = 1522;

/**
 * One function of the card. Stepped by the thread that made it; the wire's link and its statistics outlive a reset.
 *
 * @example
 * bus.plug(routingId(0, 5, 0), (master) => new Nic82576(master, { mac, wire, clock }));
 */
export class Nic82576 implements DeviceModel {
  readonly identity: DeviceModel['identity'] = {
    vendorId: 0x8086,
    deviceId: 0x10c9,
    classCode: 0x02_00_00,
    barBytes: [BAR_BYTES],
    vectors: NIC_VECTORS,
  };
  /** DMA, for tests and statistics. */
  readonly dma: NicDma;
  /** What happened besides what the statistics registers tell. */
  readonly counters: NicModelCounters = createNicModelCounters();
  private readonly options: NicOptions;
  private readonly filter = new NicFilter();
  private readonly interrupts: NicInterrupts;
  private readonly rx = Array.from({ length: NIC_QUEUES }, () => new NicQueueState());
  private readonly tx = Array.from({ length: NIC_QUEUES }, () => new NicQueueState());
  private readonly engines: readonly NicTransmit[];
  private readonly statistics = new Map<number, number>();
  private fifo: Uint8Array[] = [];
  private ctrl = 0;
  private rctl = 0;
  private tctl = 0;
  private otherVector = 0;
  private longestBytes = MAX_STANDARD_BYTES;

  /** Plug the card in: its link is up once the driver asks for it and the wire has a carrier. */
  constructor(master: BusMaster, options: NicOptions) {
    this.options = options;
    this.dma = new NicDma(master);
    this.interrupts = new NicInterrupts(master, options.clock);
    this.engines = this.tx.map((queue) => new NicTransmit(this.dma, queue, this.counters, (frame) => this.emit(frame)));
    this.filter.reset(options.mac);
    options.wire.onFrame = (frame) => this.arrive(frame);
    options.wire.onCarrier = () => this.linkChanged();
  }

  read32(bar: number, offset: number): number {
    if (bar !== 0) return 0;
    if (offset >= NIC_REG.RXQ) return this.queueAt(offset)?.read(offset % NIC_QUEUE_STRIDE) ?? 0;
    const table = this.tableAt(offset);
    if (table !== undefined) return table.words[table.index] as number; // found by offset
    switch (offset) {
      case NIC_REG.CTRL:
        return this.ctrl;
      case NIC_REG.STATUS:
        return NIC_STATUS.fullDuplex | NIC_STATUS.speed1000 | (this.isLinkUp ? NIC_STATUS.linkUp : 0);
      case NIC_REG.RCTL:
        return this.rctl;
      case NIC_REG.TCTL:
        return this.tctl;
      case NIC_REG.EIMS:
        return this.interrupts.mask;
      case NIC_REG.EICR: {
        const { cause } = this.interrupts;
        this.interrupts.cause = 0;
        return cause;
      }
      case NIC_REG.MRQC:
        return this.filter.queueControl;
      case NIC_REG.IVAR_MISC:
        return this.otherVector;
      default:
        return this.takeStatistic(offset);
    }
  }

  write32(bar: number, offset: number, value: number): void {
    if (bar !== 0) return;
    if (offset >= NIC_REG.RXQ) {
      this.queueAt(offset)?.write(offset % NIC_QUEUE_STRIDE, value);
      return;
    }
    const table = this.tableAt(offset);
    if (table !== undefined) {
      table.words[table.index] = value;
      return;
    }
    const { interrupts } = this;
    switch (offset) {
      case NIC_REG.CTRL:
        this.control(value);
        break;
      case NIC_REG.RCTL:
        this.rctl = value;
        break;
      case NIC_REG.TCTL:
        this.tctl = value;
        break;
      case NIC_REG.RLPML:
        this.longestBytes = value & 0x3fff;
        break;
      case NIC_REG.MRQC:
        this.filter.queueControl = value;
        break;
      case NIC_REG.IVAR_MISC:
        this.otherVector = value;
        break;
      case NIC_REG.EICS:
        interrupts.raise(value);
        break;
      case NIC_REG.EIMS:
        interrupts.mask |= value;
        interrupts.send();
        break;
      case NIC_REG.EIMC:
        interrupts.mask &= ~value;
        break;
      case NIC_REG.EIAC:
        interrupts.autoClear = value;
        break;
      case NIC_REG.EIAM:
        interrupts.autoMask = value;
        break;
      case NIC_REG.EICR:
        interrupts.cause &= ~value;
        break;
      default:
    }
  }

  poll(): boolean {
    let hasWorked = this.options.wire.poll();
    if ((this.tctl & TCTL_ENABLE) !== 0 && this.isLinkUp) {
      for (let queue = 0; queue < NIC_QUEUES; queue += 1) {
        const hasReport = (this.engines[queue] as NicTransmit).poll(BURST); // in range
        if (hasReport === undefined) continue;
        hasWorked = true;
        if (hasReport) this.interrupts.queueEvent(queue, true);
      }
    }
    const frames = this.fifo;
    if (frames.length > 0) {
      this.fifo = [];
      for (const frame of frames) this.take(frame);
      hasWorked = true;
    }
    return this.interrupts.send() || hasWorked;
  }

  isBusy(): boolean {
    return this.fifo.length > 0;
  }

  needsEventLoop(): boolean {
    return false;
  }

  deadlineMs(): number {
    return Math.min(this.interrupts.deadlineMs(), this.options.wire.deadlineMs());
  }

  reset(): void {
    for (const queue of [...this.rx, ...this.tx]) queue.reset();
    for (const engine of this.engines) engine.reset();
    this.filter.reset(this.options.mac);
    this.interrupts.reset();
    this.statistics.clear();
    this.fifo = [];
    this.ctrl = 0;
    this.rctl = 0;
    this.tctl = 0;
    this.otherVector = 0;
    this.longestBytes = MAX_STANDARD_BYTES;
  }

  private get isLinkUp(): boolean {
    return (this.ctrl & NIC_CTRL.setLinkUp) !== 0 && this.options.wire.hasCarrier;
  }

  private control(value: number): void {
    if ((value & NIC_CTRL.reset) !== 0) {
      this.reset();
      return;
    }
    const wasUp = this.isLinkUp;
    this.ctrl = value;
    if (wasUp !== this.isLinkUp) this.linkChanged();
  }

  private linkChanged(): void {
    const entry = this.otherVector >>> 8;
    if ((entry & IVAR_VALID) !== 0) this.interrupts.raise(1 << (entry & 15));
  }

  private emit(frame: Uint8Array): void {
    this.count(NIC_REG.GPTC, 1);
    this.count(NIC_REG.GOTCL, frame.length + 4); // the statistics count the check sequence
    this.options.wire.send(frame);
  }

  private arrive(frame: Uint8Array): void {
    if (!this.isLinkUp || (this.rctl & NIC_RCTL.enable) === 0) {
      this.counters.rxDark += 1;
      return;
    }
    this.count(NIC_REG.TPR, 1);
    if (this.fifo.length >= FIFO_FRAMES) this.count(NIC_REG.MPC, 1);
    else this.fifo.push(frame);
  }

  private take(frame: Uint8Array): void {
    const longest = (this.rctl & NIC_RCTL.longPackets) === 0 ? MAX_STANDARD_BYTES : this.longestBytes;
    if (frame.length < 14) {
      this.count(NIC_REG.RUC, 1);
      return;
    }
    if (!this.filter.accepts(frame, this.rctl)) {
      this.counters.rxFiltered += 1;
      return;
    }
    if (frame.length > longest) {
      this.count(NIC_REG.ROC, 1);
      return;
    }
    const queue = this.filter.queue(frame);
    const stripVlan = (this.ctrl & NIC_CTRL.vlanMode) !== 0;
    const outcome = receiveFrame(this.dma, this.rx[queue] as NicQueueState, frame, stripVlan); // 0 … 7
    if (outcome === RECEIVE.noBuffer) {
      this.count(NIC_REG.RNBC, 1);
      return;
    }
    this.interrupts.queueEvent(queue, false);
    if (outcome !== RECEIVE.taken) {
      this.counters.rxFaults += 1;
      return;
    }
    this.count(NIC_REG.GPRC, 1);
    this.count(NIC_REG.GORCL, frame.length + 4);
    if (((frame[0] as number) & 1) !== 0) this.count(frame[0] === 0xff ? NIC_REG.BPRC : NIC_REG.MPRC, 1);
  }

  private count(register: number, by: number): void {
    this.statistics.set(register, (this.statistics.get(register) ?? 0) + by);
  }

  /** Statistics clear when read. The byte counters are 64 bits wide: the low half reads first. */
  private takeStatistic(offset: number): number {
    if (offset === NIC_REG.GORCL + 4 || offset === NIC_REG.GOTCL + 4) {
      const total = this.statistics.get(offset - 4) ?? 0;
      this.statistics.delete(offset - 4);
      return Math.floor(total / 0x1_0000_0000);
    }
    const value = this.statistics.get(offset) ?? 0;
    if (offset !== NIC_REG.GORCL && offset !== NIC_REG.GOTCL) this.statistics.delete(offset);
    return value >>> 0;
  }

  private queueAt(offset: number): NicQueueState | undefined {
    const isTransmit = offset >= NIC_REG.TXQ;
    const index = (offset - (isTransmit ? NIC_REG.TXQ : NIC_REG.RXQ)) >>> 6;
    return (isTransmit ? this.tx : this.rx)[index];
  }

  /** The table of words that lies at `offset`, if any. */
  private tableAt(offset: number): { readonly words: Uint32Array; readonly index: number } | undefined {
    const { filter, interrupts } = this;
    const tables: readonly (readonly [number, Uint32Array])[] = [
      [NIC_REG.RAL, filter.addresses],
      [NIC_REG.MTA, filter.multicast],
      [NIC_REG.VFTA, filter.vlans],
      [NIC_REG.RETA, filter.redirection],
      [NIC_REG.RSSRK, filter.key],
      [NIC_REG.IVAR, interrupts.vectors],
      [NIC_REG.EITR, interrupts.moderation],
    ];
    for (const [start, words] of tables) {
      if (offset >= start && offset < start + words.byteLength) return { words, index: (offset - start) >>> 2 };
    }
    return undefined;
  }
}
