// The native driver of the 82576-style card, the same wherever it runs: in a driver domain or in a guest that owns the card.
import {
  type EvtchnPort,
  type Kernel,
  type Mmio,
  PCI,
  PCI_COMMAND,
  type PciFunction,
  type Stepped,
} from '@splitring/hypervisor';
import {
  IVAR_VALID,
  MRQC_FIELDS,
  MRQC_RSS,
  NIC_CTRL,
  NIC_QUEUES,
  NIC_RCTL,
  NIC_REG,
  NIC_STATUS,
  TCTL_ENABLE,
} from '../nic/nic-registers.ts';
import { type NicOffload, type NicReceiveInfo, NicRxRing, NicTxRing } from './nic-rings.ts';

/** What the driver does besides the defaults. */
export interface NicDriverOptions {
  /** Take frames for any address: needed behind a bridge. */
  readonly isPromiscuous?: boolean;
  /** Longest frame to take, Ethernet header included; 1518 by default. */
  readonly maxFrameBytes?: number;
  /** Least microseconds between two interrupts; 0 by default. */
  readonly moderationUs?: number;
  /** Queue pairs to use, 1 to 8; 1 by default. Flows are spread over them by their addresses and ports. */
  readonly queuePairs?: number;
}

/** What the driver needs of its domain. */
export type NicKernel = Pick<Kernel, 'hypercalls' | 'onEvent' | 'offEvent'>;

const DATA_VECTOR = 0;
const LINK_VECTOR = 1;
const ALL_CAUSES = (1 << DATA_VECTOR) | (1 << LINK_VECTOR);
/** Descriptors taken in one poll. */
const RX_BUDGET = 128;
const TX_NONE: NicOffload = {};
const RETA_WORDS = 32;
/** Microsoft's example key for receive-side scaling, as the card's ten little-endian words. */
const RSS_KEY = Uint32Array.of(
  0xda565a6d,
  0xc20e5b25,
  0x3d256741,
  0xb08fa343,
  0xcb2bcad0,
  0xb4307bae,
  0xa32dcb77,
  0x0cf23080,
  0x3bb7426a,
  0xfa01acbe,
);

/**
 * Drives one card. Stepped: add it to the kernel.
 *
 * @example
 * const driver = new NicDriver(kernel, kernel.hypercalls.pci.open(rid), { isPromiscuous: true });
 * driver.onFrame = (frame) => uplink.input(frame.slice());
 * kernel.add(driver);
 */
export class NicDriver implements Stepped {
  /** The card's own address. */
  readonly macAddress: Uint8Array<ArrayBuffer>;
  /** Receives every frame; its bytes are only valid inside the call. */
  onFrame: (frame: Uint8Array, info: NicReceiveInfo) => void = () => {};
  /** Called when the link comes or goes. */
  onLink: (isUp: boolean) => void = () => {};
  private readonly kernel: NicKernel;
  private readonly pci: PciFunction;
  private readonly registers: Mmio;
  private readonly tx: readonly NicTxRing[];
  private readonly rx: readonly NicRxRing[];
  private readonly ports: readonly EvtchnPort[];
  private isUp = false;
  private isClosed = false;
  private readonly take = (frame: Uint8Array, info: NicReceiveInfo) => this.onFrame(frame, info);

  /** Reset the card and bring it up. @throws HypercallError ENOMEM, or ENODEV when the function is not ours any more */
  constructor(kernel: NicKernel, pci: PciFunction, options: NicDriverOptions = {}) {
    this.kernel = kernel;
    this.pci = pci;
    pci.configWrite(PCI.command, 2, PCI_COMMAND.memory | PCI_COMMAND.busMaster);
    this.registers = pci.bar(0);
    this.registers.write32(NIC_REG.CTRL, NIC_CTRL.reset);
    this.registers.write32(NIC_REG.EIMC, ALL_CAUSES);
    this.macAddress = this.readAddress();
    const queues = Array.from({ length: Math.min(NIC_QUEUES, Math.max(1, options.queuePairs ?? 1)) }, (_, at) => at);
    this.tx = queues.map((queue) => new NicTxRing(kernel.hypercalls, this.registers, queue));
    this.rx = queues.map((queue) => new NicRxRing(kernel.hypercalls, this.registers, queue));
    this.ports = [DATA_VECTOR, LINK_VECTOR].map((vector) => pci.bindVector(vector));
    for (const port of this.ports) kernel.onEvent(port, () => {}); // the event wakes the domain; poll() does the work
    this.start(options);
    this.look();
  }

  /** Whether the link is up. */
  get isLinkUp(): boolean {
    return this.isUp;
  }

  /** Frames that the card dropped for want of buffers since this was last asked. */
  takeMissed(): number {
    return this.registers.read32(NIC_REG.RNBC) + this.registers.read32(NIC_REG.MPC);
  }

  /** Frames of which the card wrote no good copy. */
  get receiveErrors(): number {
    return this.rx.reduce((sum, ring) => sum + ring.errors, 0);
  }

  /** Send a frame; its bytes are copied. @returns false if there is no room or no link */
  send(frame: Uint8Array, offload: NicOffload = TX_NONE): boolean {
    if (this.isClosed || !this.isUp) return false;
    const ring = this.tx[this.tx.length === 1 ? 0 : flowHash(frame) % this.tx.length] as NicTxRing; // in range
    return ring.send(frame, offload);
  }

  poll(): boolean {
    if (this.isClosed) return false;
    let hasWorked = false;
    for (const ring of this.rx) {
      if (ring.poll(RX_BUDGET, this.take) > 0) hasWorked = true;
      ring.refill();
    }
    for (const ring of this.tx) {
      if (ring.reclaim()) hasWorked = true;
      ring.flush();
    }
    return this.look() || hasWorked;
  }

  arm(): boolean {
    if (this.isClosed) return false;
    this.registers.write32(NIC_REG.EIMS, ALL_CAUSES); // sent interrupts masked themselves
    return this.rx.some((ring) => ring.hasNews);
  }

  /** Stop the card and give everything back. Idempotent. */
  close(): void {
    if (this.isClosed) return;
    this.isClosed = true;
    this.registers.write32(NIC_REG.CTRL, NIC_CTRL.reset);
    this.pci.configWrite(PCI.command, 2, PCI_COMMAND.memory); // nothing reaches our memory any more
    for (const port of this.ports) {
      this.kernel.offEvent(port);
      this.kernel.hypercalls.closePort(port);
    }
    for (const ring of [...this.tx, ...this.rx]) {
      for (const run of ring.memory) this.kernel.hypercalls.freeFrames(run);
    }
  }

  private start(options: NicDriverOptions): void {
    const { registers } = this;
    const queue = IVAR_VALID | DATA_VECTOR;
    for (let pair = 0; pair < this.rx.length; pair += 1)
      registers.write32(NIC_REG.IVAR + 4 * pair, queue | (queue << 8));
    if (this.rx.length > 1) this.scale(this.rx.length);
    registers.write32(NIC_REG.IVAR_MISC, (IVAR_VALID | LINK_VECTOR) << 8);
    registers.write32(NIC_REG.EITR, (options.moderationUs ?? 0) << 2);
    registers.write32(NIC_REG.EIAC, ALL_CAUSES);
    registers.write32(NIC_REG.EIAM, ALL_CAUSES);
    registers.write32(NIC_REG.RLPML, options.maxFrameBytes ?? 1518);
    let rctl = NIC_RCTL.enable | NIC_RCTL.acceptBroadcast | NIC_RCTL.longPackets;
    if (options.isPromiscuous === true) rctl |= NIC_RCTL.unicastPromiscuous | NIC_RCTL.multicastPromiscuous;
    registers.write32(NIC_REG.RCTL, rctl);
    registers.write32(NIC_REG.TCTL, TCTL_ENABLE);
    registers.write32(NIC_REG.CTRL, NIC_CTRL.setLinkUp | NIC_CTRL.vlanMode);
    registers.write32(NIC_REG.EIMS, ALL_CAUSES);
  }

  /** Spread received flows over `queues` queues. */
  private scale(queues: number): void {
    const { registers } = this;
    for (const [word, value] of RSS_KEY.entries()) registers.write32(NIC_REG.RSSRK + 4 * word, value);
    for (let word = 0; word < RETA_WORDS; word += 1) {
      let value = 0;
      for (let i = 0; i < 4; i += 1) value |= ((word * 4 + i) % queues) << (8 * i);
      registers.write32(NIC_REG.RETA + 4 * word, value);
    }
    const fields = Object.values(MRQC_FIELDS).reduce((all, field) => all | field, 0);
    registers.write32(NIC_REG.MRQC, MRQC_RSS | fields);
  }

  /** Look at the link. @returns whether it changed */
  private look(): boolean {
    const isUp = (this.registers.read32(NIC_REG.STATUS) & NIC_STATUS.linkUp) !== 0;
    if (isUp === this.isUp) return false;
    this.isUp = isUp;
    this.onLink(isUp);
    return true;
  }

  private readAddress(): Uint8Array<ArrayBuffer> {
    const bytes = new Uint8Array(8);
    const view = new DataView(bytes.buffer);
    view.setUint32(0, this.registers.read32(NIC_REG.RAL), true);
    view.setUint32(4, this.registers.read32(NIC_REG.RAH), true);
    return bytes.slice(0, 6);
  }
}

/** Addresses and ports of a frame as a number: one flow, one queue, so that it keeps its order. */
function flowHash(frame: Uint8Array): number {
  let hash = 0;
  for (let i = 0; i < 12; i += 1) hash = (Math.imul(hash, 31) + (frame[i] ?? 0)) | 0;
  // IPv4 addresses and ports; other protocols are spread by their Ethernet addresses only.
  const end = frame[12] === 8 && frame[13] === 0 ? Math.min(frame.length, 38) : 0;
  for (let i = 26; i < end; i += 1) hash = (Math.imul(hash, 31) + (frame[i] as number)) | 0; // in range
  return (hash ^ (hash >>> 15)) >>> 0;
}
