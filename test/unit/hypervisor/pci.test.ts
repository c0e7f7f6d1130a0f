// PCI: configuration space, capability chain, BARs, MSI-X, assignment, quarantine, function level reset.
import {
  type BusMaster,
  createIommuTables,
  createPciTable,
  type DeviceModel,
  type DomId,
  type EvtchnPort,
  FLR_DELAY_MS,
  formatRoutingId,
  HypercallError,
  IO_READ,
  IO_WRITE,
  IoPageTables,
  MSIX_BAR,
  MSIX_CONTROL,
  MSIX_PBA_OFFSET,
  PCI,
  PCI_COMMAND,
  PCI_EXP_DEVCTL_FLR,
  PciBus,
  PciPlatform,
  type RoutingId,
  routingId,
} from '@splitring/hypervisor';
import test from 'ava';

const RID = routingId(0, 3, 0);
const dom = (id: number) => id as DomId;

/** A device with one register file that does what the test asks. */
class Probe implements DeviceModel {
  readonly identity = { vendorId: 0x1234, deviceId: 0x5678, classCode: 0x02_00_00, barBytes: [8192], vectors: 3 };
  readonly registers = new Map<number, number>();
  readonly master: BusMaster;
  resets = 0;
  constructor(master: BusMaster) {
    this.master = master;
  }
  read32(bar: number, offset: number): number {
    return bar === 0 ? (this.registers.get(offset) ?? 0) : 0;
  }
  write32(_bar: number, offset: number, value: number): void {
    this.registers.set(offset, value);
  }
  poll(): boolean {
    return false;
  }
  isBusy(): boolean {
    return this.registers.has(0xb5);
  }
  needsEventLoop(): boolean {
    return false;
  }
  deadlineMs(): number {
    return Number.POSITIVE_INFINITY;
  }
  reset(): void {
    this.resets++;
    this.registers.clear();
  }
}

function rig(owner: DomId | undefined = dom(1)) {
  const iommu = createIommuTables({ spaces: 8, tablePages: 32, units: 2 });
  const table = createPciTable(4);
  const tables = new IoPageTables(iommu);
  const spaces = [1, 2].map((id) => tables.createSpace(dom(id), 1));
  const platform = new PciPlatform({ iommu, table });
  platform.add(RID, dom(1));
  if (owner !== undefined) platform.assign(RID, owner, 1);
  const raised: [number, number][] = [];
  const time = { ms: 0 };
  let ports = 10;
  const bus = new PciBus({
    iommu,
    table,
    domid: dom(1),
    generation: 1,
    memory: { extentBytes: () => new Uint8Array(new SharedArrayBuffer(1 << 24)) },
    ports: {
      allocate: () => ports++ as EvtchnPort,
      raise: (domid, _generation, port) => void raised.push([domid, port]),
    },
    clock: { nowMs: () => time.ms },
  });
  const probe = bus.plug(RID, (master) => new Probe(master));
  return { iommu, table, tables, spaces, platform, bus, probe, raised, time };
}

const code = (
  t: { throws: (fn: () => unknown, of: { instanceOf: typeof HypercallError }) => HypercallError | undefined },
  fn: () => unknown,
) => t.throws(fn, { instanceOf: HypercallError })?.code;

test('routing ids carry bus, device and function', (t) => {
  t.is(formatRoutingId(routingId(1, 31, 7)), '01:1f.7');
  t.is(routingId(255, 0, 1) - routingId(255, 0, 0), 1);
  t.is(formatRoutingId((routingId(0, 31, 7) + 1) as RoutingId), '01:00.0', 'the next one is on the next bus');
  for (const [bus, device, fn] of [
    [256, 0, 0],
    [0, 32, 0],
    [0, 0, 8],
    [-1, 0, 0],
  ] as const) {
    t.throws(() => routingId(bus, device, fn), { instanceOf: RangeError });
  }
});

test('the capability chain leads from PCIe to MSI-X', (t) => {
  const { bus } = rig();
  const pci = bus.access.open(RID);
  t.is(pci.configRead(PCI.vendorId, 4), 0x5678_1234);
  t.is(pci.configRead(PCI.revision, 4) >>> 8, 0x02_00_00);
  t.is(pci.configRead(PCI.status, 2) & 0x10, 0x10);
  const chain: number[] = [];
  for (let at = pci.configRead(PCI.capabilities, 1); at !== 0; at = pci.configRead(at + 1, 1))
    chain.push(pci.configRead(at, 1));
  t.deepEqual(chain, [0x10, 0x11]);
  t.is(pci.configRead(PCI.msixControl, 2) & 0x7ff, 2, 'three vectors');
  t.is(pci.configRead(PCI.msixTable, 4), MSIX_BAR);
  t.is(pci.configRead(PCI.msixPending, 4), MSIX_PBA_OFFSET | MSIX_BAR);
  t.is(pci.configRead(0x100, 4), 0, 'no extended capability');
});

test('BARs answer the sizing probe and read-only registers keep their value', (t) => {
  const { bus } = rig();
  const pci = bus.access.open(RID);
  const before = [0, 1, 2, 3, 4, 5].map((i) => pci.configRead(PCI.bar0 + i * 4, 4));
  for (let i = 0; i < 6; i++) pci.configWrite(PCI.bar0 + i * 4, 4, 0xffff_ffff);
  const sizes = [0, 1, 2, 3, 4, 5].map((i) => pci.configRead(PCI.bar0 + i * 4, 4));
  t.deepEqual(sizes, [0xffff_e004, 0xffff_ffff, 0, 0, 0xffff_f004, 0xffff_ffff]);
  t.not(before[0], sizes[0]);
  for (const offset of [PCI.vendorId, PCI.revision, PCI.capabilities & ~3, PCI.msixTable]) {
    const value = pci.configRead(offset, 4);
    pci.configWrite(offset, 4, ~value);
    t.is(pci.configRead(offset, 4), value);
  }
  t.is(pci.configRead(1, 2), 0xffff, 'unaligned');
  t.is(pci.configRead(4096, 4), 0xffff_ffff, 'outside');
  t.notThrows(() => pci.configWrite(4095, 4, 0));
});

test('registers and DMA need their enable bits', (t) => {
  const { bus, probe, tables, spaces } = rig();
  tables.map(spaces[0] as never, 7, 7, IO_READ | IO_WRITE); // made in rig()
  const pci = bus.access.open(RID);
  const mmio = pci.bar(0);
  t.is(mmio.lengthBytes, 8192);
  mmio.write32(0, 5);
  t.is(mmio.read32(0), 0xffff_ffff);
  pci.configWrite(PCI.command, 2, PCI_COMMAND.memory);
  mmio.write32(0, 5);
  t.is(mmio.read32(0), 5);
  t.is(mmio.read32(8192), 0xffff_ffff);
  t.is(mmio.read32(-4), 0xffff_ffff);
  t.is(probe.master.translate(7, false), -1, 'no bus mastering');
  t.is(bus.iommu.faults.total, 0, 'which is no IOMMU fault');
  pci.configWrite(PCI.command, 2, PCI_COMMAND.memory | PCI_COMMAND.busMaster);
  t.is(Number(probe.master.translate(7, true)), 7);
  t.is(
    code(t, () => pci.bar(1)),
    'EINVAL',
  );
});

test('MSI-X delivers, holds back while masked, and fires once on unmasking', (t) => {
  const { bus, probe, raised } = rig();
  const pci = bus.access.open(RID);
  pci.configWrite(PCI.command, 2, PCI_COMMAND.memory | PCI_COMMAND.busMaster);
  const port = pci.bindVector(1);
  probe.master.interrupt(1);
  t.deepEqual(raised, [[1, port]]);
  pci.maskVector(1, true);
  probe.master.interrupt(1);
  probe.master.interrupt(1);
  t.is(raised.length, 1);
  t.is(pci.bar(MSIX_BAR).read32(MSIX_PBA_OFFSET), 2);
  pci.maskVector(1, false);
  t.is(raised.length, 2);
  pci.configWrite(PCI.msixControl, 2, MSIX_CONTROL.enable | MSIX_CONTROL.functionMask);
  probe.master.interrupt(1);
  t.is(raised.length, 2);
  pci.configWrite(PCI.msixControl, 2, MSIX_CONTROL.enable);
  t.is(raised.length, 3);
  pci.maskVector(1, true);
  probe.master.interrupt(1);
  probe.master.withdraw(1);
  pci.maskVector(1, false);
  t.is(raised.length, 3, 'withdrawn');
  probe.master.interrupt(9);
  t.is(raised.length, 3);
  t.is(
    code(t, () => pci.bindVector(3)),
    'EINVAL',
  );
});

test('a forged MSI-X entry is a fault, not an interrupt', (t) => {
  const { bus, probe, raised } = rig();
  const pci = bus.access.open(RID);
  pci.configWrite(PCI.command, 2, PCI_COMMAND.memory | PCI_COMMAND.busMaster);
  pci.bindVector(0);
  const table = pci.bar(MSIX_BAR);
  table.write32(0, 0xfee0_0000); // compatibility format: any vector of the host
  probe.master.interrupt(0);
  table.write32(0, 0xfee0_0010 | (5 << 5)); // somebody else's handle
  probe.master.interrupt(0);
  t.deepEqual(raised, []);
  t.deepEqual(
    bus.iommu.faults.take().map(({ reason }) => reason),
    [0x25, 0x22],
  );
});

test('assignment: owner only, quarantine between owners, every refusal named', (t) => {
  const { platform, bus, probe, tables, spaces } = rig();
  tables.map(spaces[0] as never, 7, 7, IO_READ); // made in rig()
  t.is(
    code(t, () => platform.add(RID, dom(1))),
    'EEXIST',
  );
  t.is(
    code(t, () => platform.assign(RID, dom(2), 1)),
    'EBUSY',
  );
  t.is(
    code(t, () => platform.assign(routingId(9, 0, 0), dom(2), 1)),
    'ENODEV',
  );
  const pci = bus.access.open(RID);
  pci.configWrite(PCI.command, 2, PCI_COMMAND.memory | PCI_COMMAND.busMaster);
  t.is(Number(probe.master.translate(7, false)), 7);
  t.deepEqual(bus.access.list(), [RID]);
  platform.deassign(RID);
  t.is(platform.ownerOf(RID), undefined);
  t.false(platform.isSettled(RID));
  bus.poll();
  t.true(platform.isSettled(RID));
  t.is(probe.resets, 2, 'at power-on and now');
  t.deepEqual(bus.access.list(), []);
  t.is(pci.configRead(PCI.vendorId, 2), 0xffff);
  pci.configWrite(PCI.command, 2, PCI_COMMAND.memory | PCI_COMMAND.busMaster);
  t.is(probe.master.translate(7, false), -1, 'a handle kept from before opens nothing');
  t.is(
    code(t, () => bus.access.open(RID)),
    'ENODEV',
  );
  t.is(
    code(t, () => pci.bindVector(0)),
    'ENODEV',
  );
  t.is(
    code(t, () => platform.assign(RID, dom(7), 1)),
    'ESRCH',
  );
  platform.assign(RID, dom(2), 1);
  t.is(
    code(t, () => bus.access.open(RID)),
    'ENODEV',
  );
  platform.deassign(RID);
  platform.remove(RID);
  t.is(
    code(t, () => platform.deassign(RID)),
    'ENODEV',
  );
});

test('XSA-302/306: DMA that comes late, from quarantine or under the next owner, faults and reaches nothing', (t) => {
  const { bus, probe, platform, tables, spaces } = rig();
  tables.map(spaces[0] as never, 7, 7, IO_READ | IO_WRITE); // made in rig()
  bus.access.open(RID).configWrite(PCI.command, 2, PCI_COMMAND.busMaster);
  t.is(Number(probe.master.translate(7, true)), 7);
  platform.deassign(RID);
  bus.iommu.serve(); // the context is gone, the reset is not yet done
  t.is(probe.master.translate(7, true), -1);
  t.deepEqual(bus.iommu.faults.take(), [{ busPage: 7, sourceId: RID, reason: 5, isRead: false }]);
  bus.poll(); // the reset
  t.is(probe.resets, 2);
  platform.assign(RID, dom(2), 1);
  bus.iommu.serve();
  t.is(probe.master.translate(7, true), -1, 'not allowed to master the bus before its new driver says so');
  t.is(bus.iommu.translate(bus.iommu.requester(RID), 7, true), -1, "and the former owner's page is not the next one's");
});

test('a function level reset by the driver takes its time, and leaves defaults', (t) => {
  const { bus, probe, time } = rig();
  const pci = bus.access.open(RID);
  pci.configWrite(PCI.command, 2, PCI_COMMAND.memory | PCI_COMMAND.busMaster);
  pci.bindVector(0);
  pci.bar(0).write32(0, 9);
  pci.configWrite(PCI.expressDeviceControl, 2, PCI_EXP_DEVCTL_FLR);
  t.is(probe.resets, 2);
  t.is(pci.configRead(PCI.vendorId, 2), 0xffff);
  time.ms = FLR_DELAY_MS - 1;
  t.is(pci.configRead(PCI.vendorId, 2), 0xffff);
  time.ms = FLR_DELAY_MS;
  t.is(pci.configRead(PCI.vendorId, 2), 0x1234);
  t.is(pci.configRead(PCI.command, 2), 0);
  t.is(pci.configRead(PCI.msixControl, 2) & 0xc000, 0);
  t.not(pci.configRead(PCI.bar0 + 4, 4), 0, 'the platform places BARs again');
});

test('plug needs a function that this thread steps, once', (t) => {
  const { platform, bus } = rig();
  platform.add(routingId(0, 5, 0), dom(2));
  const plug = (id: RoutingId) => () => bus.plug(id, (master) => new Probe(master));
  t.is(code(t, plug(RID)), 'EEXIST');
  t.is(code(t, plug(routingId(0, 5, 0))), 'EPERM');
  t.is(code(t, plug(routingId(0, 6, 0))), 'ENODEV');
});

test('the death of a domain returns its functions, unit, interrupts and space', (t) => {
  const { platform, bus, table, iommu, tables, raised } = rig();
  const pci = bus.access.open(RID);
  pci.configWrite(PCI.command, 2, PCI_COMMAND.memory | PCI_COMMAND.busMaster);
  pci.bindVector(0);
  platform.afterFence(dom(1), 1);
  t.is(platform.ownerOf(RID), undefined);
  t.is(tables.spaceOf(dom(1), 1), -1);
  t.true(platform.isSettled(RID), 'its registers died with the thread');
  tables.createSpace(dom(3), 1);
  platform.setStepper(RID, dom(3));
  platform.assign(RID, dom(3), 1);
  const successor = new PciBus({
    iommu,
    table,
    domid: dom(3),
    generation: 1,
    memory: { extentBytes: () => undefined },
    ports: { allocate: () => 1 as EvtchnPort, raise: () => void raised.push([0, 0]) },
    clock: { nowMs: () => 0 },
  });
  t.is(successor.iommu.unit, bus.iommu.unit);
  successor.plug(RID, (master) => new Probe(master));
  t.is(successor.access.open(RID).configRead(PCI.vendorId, 2), 0x1234);
});
