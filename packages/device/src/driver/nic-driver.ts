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
import { IVAR_VALID, NIC_CTRL, NIC_RCTL, NIC_REG, NIC_STATUS, TCTL_ENABLE } from '../nic/nic-registers.ts';
import { type NicOffload, type NicReceiveInfo, NicRxRing, NicTxRing } from './nic-rings.ts';

/** What the driver does besides the defaults. */
export interface NicDriverOptions {
  /** Take frames for any address: needed behind a bridge. */
  readonly isPromiscuous?: boolean;
  /** Longest frame to take, Ethernet header included; 1518 by default. */
  readonly maxFrameBytes?: number;
  /** Least microseconds between two interrupts; 0 by default. */
  readonly moderationUs?: number;
}

/** What the driver needs of its domain. */
export type NicKernel = Pick<Kernel, 'hypercalls' | 'onEvent' | 'offEvent'>;

const DATA_VECTOR = 0;
const LINK_VECTOR = 1;
const ALL_CAUSES = (1 << DATA_VECTOR) | (1 << LINK_VECTOR);
/** Descriptors taken in one poll. */
const RX_BUDGET = 128;
const TX_NONE: NicOffload = {};

/**
 * Drives one card with one queue pair. Stepped: add it to the kernel.
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
  private readonly tx: NicTxRing;
  private readonly rx: NicRxRing;
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
    this.tx = new NicTxRing(kernel.hypercalls, this.registers, 0);
    this.rx = new NicRxRing(kernel.hypercalls, this.registers, 0);
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
    return this.rx.errors;
  }

  /** Send a frame; its bytes are copied. @returns false if there is no room or no link */
  send(frame: Uint8Array, offload: NicOffload = TX_NONE): boolean {
    return !this.isClosed && this.isUp && this.tx.send(frame, offload);
  }

  poll(): boolean {
    if (this.isClosed) return false;
    const hasSent = this.tx.reclaim();
    const count = this.rx.poll(RX_BUDGET, this.take);
    this.rx.refill();
    this.tx.flush();
    return this.look() || hasSent || count > 0;
  }

  arm(): boolean {
    if (this.isClosed) return false;
    this.registers.write32(NIC_REG.EIMS, ALL_CAUSES); // sent interrupts masked themselves
    return this.rx.hasNews;
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
    for (const run of [...this.tx.memory, ...this.rx.memory]) this.kernel.hypercalls.freeFrames(run);
  }

  private start(options: NicDriverOptions): void {
    const { registers } = this;
    const queue = IVAR_VALID | DATA_VECTOR;
    registers.write32(NIC_REG.IVAR, queue | (queue << 8));
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
