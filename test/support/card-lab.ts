// Two bridges of a driver domain, joined by a cable with a card at each end: the longest way that a frame can take here.
import { Bridge, CardUplink } from '@splitring/backend';
import { type Cable, createCable, type LinkFaults, NIC_REG, Nic82576, NicDriver } from '@splitring/device';
import { routingId } from '@splitring/hypervisor';
import { NetCluster } from './net-cluster.ts';

/** One end of the cable. */
export interface CardEnd {
  readonly bridge: Bridge;
  readonly card: Nic82576;
  readonly driver: NicDriver;
  readonly uplink: CardUplink;
  /** Read a statistics register without losing what it said before. */
  readonly statistic: (register: number) => number;
}

/** How a lab is made. */
export interface CardLabOptions {
  readonly faults?: LinkFaults;
  readonly seed?: number;
  readonly queuePairs?: number;
}

/** A seeded source of chance. */
export function seeded(seed: number): { nextU32(): number; below(limit: number): number } {
  let state = seed | 0;
  const nextU32 = () => {
    state = (Math.imul(state ^ (state >>> 15), 0x2c1b3c6d) + 0x9e3779b9) | 0;
    return (state ^ (state >>> 13)) >>> 0;
  };
  return { nextU32, below: (limit) => nextU32() % limit };
}

/** lan0 = card = cable = card = lan1. */
export class CardLab {
  readonly cluster: NetCluster;
  readonly cable: Cable;
  readonly ends: readonly [CardEnd, CardEnd];

  constructor(options: CardLabOptions = {}) {
    const bridges = new Map<string, Bridge>();
    this.cluster = new NetCluster({ bridge: (name) => bridges.get(name) });
    const { clock } = this.cluster.rig;
    const { kernel } = this.cluster.driverDomain;
    this.cable = createCable(clock, seeded(options.seed ?? 1));
    this.cable.setFaults(options.faults ?? {});
    const { driver: hypercalls, hypervisor } = this.cluster;
    const bus = hypercalls.startPciBus(clock);
    kernel.add(bus);
    const open = (index: 0 | 1): CardEnd => {
      const name = `lan${index}`;
      const bridge = new Bridge(name, clock);
      bridges.set(name, bridge);
      kernel.add(bridge, 'control');
      const rid = routingId(0, 5 + index, 0);
      const domain = { domid: hypercalls.domid, generation: hypercalls.generation };
      hypervisor.pci.add(rid, domain.domid);
      hypervisor.pci.assign(rid, domain.domid, domain.generation);
      const mac = Uint8Array.of(2, 0, 0, 0, 1, index);
      const card = bus.plug(rid, (master) => new Nic82576(master, { mac, wire: this.cable.ends[index], clock }));
      const { queuePairs = 1 } = options;
      const driver = new NicDriver(kernel, hypercalls.pci.open(rid), {
        isPromiscuous: true,
        maxFrameBytes: 1522,
        queuePairs,
      });
      kernel.add(driver);
      const seen = new Map<number, number>();
      const statistic = (register: number) => {
        const total = (seen.get(register) ?? 0) + card.read32(0, register);
        seen.set(register, total);
        return total;
      };
      return { bridge, card, driver, uplink: new CardUplink(`eth${index}`, bridge, kernel, driver), statistic };
    };
    this.ends = [open(0), open(1)];
  }

  /** Let `ms` pass in steps of one. */
  pass(ms: number): void {
    for (let i = 0; i < ms; i += 1) {
      this.cluster.rig.clock.advance(1);
      this.cluster.rig.pump();
    }
  }
}

/** What must be equal at one place. */
export interface Balance {
  readonly hop: string;
  readonly came: number;
  readonly went: number;
}

/** Every hop of a lab at rest: what came is what went on plus each named loss. */
export function balances(lab: CardLab): Balance[] {
  const list: Balance[] = [];
  for (const [index, end] of lab.ends.entries()) {
    const { bridge, card, uplink, statistic } = end;
    const { counters: up } = uplink;
    const from = lab.cable.ends[index as 0 | 1].counters;
    const back = lab.cable.ends[index === 0 ? 1 : 0].counters;
    const name = `end ${index}`;
    let offered = 0;
    for (const { counters: c, port } of bridge.links) {
      const drops =
        c.dropSamePort + c.dropSpoofed + c.dropVlan + c.dropGroupLimit + c.dropRefused + c.dropTimeout + c.dropNoPort;
      list.push({ hop: `${name} ${port.name} bridge`, came: c.framesIn, went: c.forwarded + c.flooded + drops });
      offered += c.forwarded + c.dropRefused + c.floodCopies + c.floodMissed;
    }
    const vifs = [...lab.cluster.vifs].filter((vif) => bridge.links.some(({ port }) => port === vif));
    const taken = vifs.reduce((sum, { counters: c }) => {
      const lost = c.rxNoRoom + c.rxUnsuitable + c.rxStalled + c.rxFiltered + c.rxErrors + c.rxNoCarrier;
      return sum + c.rxFrames + lost - c.rxSegments;
    }, up.txOffered);
    list.push({ hop: `${name} ports`, came: offered, went: taken });
    const given = up.txFrames + up.txNoRoom + up.txNoLink + up.txUnsuitable;
    list.push({ hop: `${name} uplink`, came: up.txOffered, went: given });
    list.push({ hop: `${name} card tx`, came: up.txFrames, went: card.counters.txTaken });
    const { txTaken, txBad, txSegments } = card.counters;
    list.push({ hop: `${name} card cuts`, came: txTaken + txSegments, went: statistic(NIC_REG.GPTC) + txBad });
    list.push({ hop: `${name} wire`, came: statistic(NIC_REG.GPTC), went: from.sent });
    list.push({
      hop: `${name} cable`,
      came: from.sent + from.duplicated,
      went: from.delivered + from.lost + from.cut,
    });
    list.push({ hop: `${name} card`, came: back.delivered, went: card.counters.rxDark + statistic(NIC_REG.TPR) });
    const refused = statistic(NIC_REG.MPC) + statistic(NIC_REG.RNBC) + statistic(NIC_REG.ROC) + statistic(NIC_REG.RUC);
    list.push({
      hop: `${name} card rx`,
      came: statistic(NIC_REG.TPR),
      went: statistic(NIC_REG.GPRC) + refused + card.counters.rxFiltered + card.counters.rxFaults,
    });
    list.push({ hop: `${name} driver rx`, came: statistic(NIC_REG.GPRC), went: up.rxFrames + up.rxErrors });
    list.push({ hop: `${name} uplink rx`, came: up.rxFrames, went: uplink.link.counters.framesIn });
  }
  for (const [index, guest] of lab.cluster.guests.entries()) {
    const { counters: nic } = lab.cluster.nic(guest);
    const vif = lab.cluster.vifs[index];
    const link = lab.ends.flatMap(({ bridge }) => bridge.links).find(({ port }) => port === vif);
    if (vif === undefined || link === undefined) throw new Error('the guest is connected');
    const { counters: c } = vif;
    const name = `guest ${index}`;
    list.push({ hop: `${name} nic`, came: nic.txFrames, went: nic.txOkay + nic.txDropped + nic.txErrors });
    list.push({ hop: `${name} vif`, came: nic.txFrames, went: c.txFrames + c.txDropped + c.txErrors });
    list.push({ hop: `${name} link`, came: c.txFrames + c.txDropped, went: link.counters.framesIn });
    list.push({ hop: `${name} rx`, came: c.rxFrames, went: nic.rxFrames + nic.rxErrors + nic.rxOther });
  }
  return list;
}
