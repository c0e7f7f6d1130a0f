// Every operation that travels, as tables of (domain, transaction, operation, payload, expected answer); `|` is NUL.
import test from 'ava';
import { runScenario, type ScenarioRow, WireRig } from '../../../support/store-scenario.ts';

const LONG = 'x'.repeat(3000);

/** What every scenario starts from: homes of domains 1 and 2, and nodes of dom0. */
function planted(): WireRig {
  const rig = new WireRig();
  rig.plant(
    ['/local/domain/1', '', 'n1'],
    ['/local/domain/2', '', 'n2'],
    ['/local/domain/1/shared', 'v', 'n1', 'r2'],
    ['/local/domain/1/inbox', '', 'n1', 'w2'],
    ['/local/domain/1/both', '', 'b1'],
    ['/tool/public', 'pub', 'r0'],
    ['/tool/secret', 'sec', 'n0'],
  );
  return rig;
}

const SCENARIOS: Record<string, readonly ScenarioRow[]> = {
  'READ, WRITE and paths': [
    [1, '-', 'WRITE', 'name|db', 'OK|'],
    [1, '-', 'READ', 'name|', 'db'],
    [1, '-', 'READ', '/local/domain/1/name|', 'db'],
    [1, '-', 'WRITE', 'name|', 'OK|'],
    [1, '-', 'READ', 'name|', ''],
    [1, '-', 'WRITE', 'bytes|a|b\u00ff|', 'OK|'],
    [1, '-', 'READ', 'bytes|', 'a|b\u00ff|'],
    [1, '-', 'WRITE', 'deep/er/est|x', 'OK|'],
    [1, '-', 'READ', 'deep/er|', ''],
    [1, '-', 'READ', 'missing|', 'ENOENT'],
    [1, '-', 'READ', 'missing/below|', 'ENOENT'],
    [1, '-', 'READ', 'name', 'EINVAL'],
    [1, '-', 'READ', 'name|more|', 'EINVAL'],
    [1, '-', 'READ', '|', 'EINVAL'],
    [1, '-', 'READ', '', 'EINVAL'],
    [1, '-', 'READ', 'a//b|', 'EINVAL'],
    [1, '-', 'READ', 'a/|', 'EINVAL'],
    [1, '-', 'READ', '//|', 'EINVAL'],
    [1, '-', 'READ', 'a b|', 'EINVAL'],
    [1, '-', 'READ', 'a.b|', 'EINVAL'],
    [1, '-', 'READ', '@releaseDomain|', 'EINVAL'],
    [1, '-', 'WRITE', '@introduceDomain|x', 'EINVAL'],
    [1, '-', 'WRITE', 'name', 'EINVAL'],
    [1, '-', 'WRITE', `${LONG}|x`, 'EINVAL'],
  ],
  'DIRECTORY, MKDIR and RM': [
    [1, '-', 'MKDIR', 'd|', 'OK|'],
    [1, '-', 'WRITE', 'd/b|1', 'OK|'],
    [1, '-', 'WRITE', 'd/a|2', 'OK|'],
    [1, '-', 'DIRECTORY', 'd|', 'b|a|'],
    [1, '-', 'MKDIR', 'd/b|', 'OK|'],
    [1, '-', 'READ', 'd/b|', '1'],
    [1, '-', 'DIRECTORY', 'd/a|', ''],
    [1, '-', 'RM', 'd/b|', 'OK|'],
    [1, '-', 'RM', 'd/b|', 'OK|'],
    [1, '-', 'RM', 'd/b/c|', 'ENOENT'],
    [1, '-', 'DIRECTORY', 'd|', 'a|'],
    [1, '-', 'RM', 'd|', 'OK|'],
    [1, '-', 'READ', 'd/a|', 'ENOENT'],
    [1, '-', 'RM', '/|', 'EACCES'],
    [1, '-', 'RM', '/local/domain/2|', 'EACCES'],
    [1, '-', 'MKDIR', 'd', 'EINVAL'],
    [1, '-', 'RM', '|', 'EINVAL'],
  ],
  'permissions: who may do what': [
    [2, '-', 'READ', '/local/domain/1/shared|', 'v'],
    [2, '-', 'WRITE', '/local/domain/1/shared|x', 'EACCES'],
    [2, '-', 'READ', '/local/domain/1/inbox|', 'EACCES'],
    [2, '-', 'WRITE', '/local/domain/1/inbox|m', 'OK|'],
    [2, '-', 'WRITE', '/local/domain/1/inbox/new|m', 'OK|'],
    [1, '-', 'READ', '/local/domain/1/inbox/new|', 'EACCES'],
    [1, '-', 'RM', '/local/domain/1/inbox|', 'OK|'],
    [2, '-', 'READ', '/local/domain/1/both|', ''],
    [2, '-', 'WRITE', '/local/domain/1/both/x|1', 'OK|'],
    [1, '-', 'READ', '/tool/public|', 'pub'],
    [1, '-', 'READ', '/tool/secret|', 'EACCES'],
    [1, '-', 'GET_PERMS', '/local/domain/1/shared|', 'n1|r2|'],
    [2, '-', 'GET_PERMS', '/local/domain/1/shared|', 'n1|r2|'],
    [2, '-', 'GET_PERMS', '/local/domain/1|', 'EACCES'],
    [1, '-', 'WRITE', 'mine|x', 'OK|'],
    [1, '-', 'GET_PERMS', 'mine|', 'n1|'],
  ],
  'permissions: what a refusal gives away': [
    [2, '-', 'READ', '/local/domain/1/hidden|', 'EACCES'],
    [2, '-', 'READ', '/local/domain/1|', 'EACCES'],
    [2, '-', 'READ', '/local/domain/1/shared/absent|', 'ENOENT'],
    [2, '-', 'WRITE', '/local/domain/1/shared/absent|x', 'EACCES'],
    [2, '-', 'RM', '/local/domain/1/shared/absent|', 'EACCES'],
    [2, '-', 'RM', '/local/domain/1/inbox/absent|', 'OK|'],
    [2, '-', 'DIRECTORY', '/tool/secret/absent|', 'EACCES'],
    [2, '-', 'DIRECTORY', '/tool/public/absent|', 'ENOENT'],
    [2, '-', 'READ', '/nowhere|', 'EACCES'],
    [2, '-', 'SET_PERMS', '/tool/public/absent|n2|', 'EACCES'],
  ],
  SET_PERMS: [
    [1, '-', 'WRITE', 'p|x', 'OK|'],
    [1, '-', 'SET_PERMS', 'p|n1|r2|', 'OK|'],
    [2, '-', 'READ', '/local/domain/1/p|', 'x'],
    [1, '-', 'SET_PERMS', 'p|n1|b2|', 'OK|'],
    [2, '-', 'WRITE', '/local/domain/1/p|y', 'OK|'],
    [2, '-', 'SET_PERMS', '/local/domain/1/p|n1|', 'EACCES'],
    [1, '-', 'SET_PERMS', 'p|r1|', 'OK|'],
    [2, '-', 'READ', '/local/domain/1/p|', 'y'],
    [1, '-', 'SET_PERMS', 'p|x1|', 'EINVAL'],
    [1, '-', 'SET_PERMS', 'p|n|', 'EINVAL'],
    [1, '-', 'SET_PERMS', 'p|n-1|', 'EINVAL'],
    [1, '-', 'SET_PERMS', 'p|n01|', 'EINVAL'],
    [1, '-', 'SET_PERMS', 'p|n32752|', 'EINVAL'],
    [1, '-', 'SET_PERMS', 'p|n1', 'EINVAL'],
    [1, '-', 'SET_PERMS', 'p|', 'EINVAL'],
    [1, '-', 'SET_PERMS', 'p|n1|r2|r3|r4|r5|', 'OK|'],
    [1, '-', 'SET_PERMS', 'p|n1|r2|r3|r4|r5|r6|', 'ENOSPC'],
    [1, '-', 'SET_PERMS', '@releaseDomain|r1|', 'EACCES'],
    [1, '-', 'GET_PERMS', '@releaseDomain|', 'EACCES'],
  ],
  'transactions: isolation and commit': [
    [1, '-', 'WRITE', 'a|1', 'OK|'],
    [1, '-', 'TRANSACTION_START', '|', 'T1'],
    [1, 'T1', 'WRITE', 'a|2', 'OK|'],
    [1, 'T1', 'WRITE', 'new/x|3', 'OK|'],
    [1, 'T1', 'READ', 'a|', '2'],
    [1, '-', 'READ', 'a|', '1'],
    [1, '-', 'READ', 'new/x|', 'ENOENT'],
    [1, 'T1', 'TRANSACTION_END', 'T|', 'OK|'],
    [1, '-', 'READ', 'a|', '2'],
    [1, '-', 'READ', 'new/x|', '3'],
    [1, 'T1', 'READ', 'a|', 'ENOENT'],
    [1, 'T1', 'TRANSACTION_END', 'T|', 'ENOENT'],
    [1, '-', 'TRANSACTION_START', '|', 'T2'],
    [1, 'T2', 'RM', 'a|', 'OK|'],
    [1, 'T2', 'READ', 'a|', 'ENOENT'],
    [1, 'T2', 'TRANSACTION_END', 'F|', 'OK|'],
    [1, '-', 'READ', 'a|', '2'],
    [1, '-', 'TRANSACTION_START', '|', 'T3'],
    [1, 'T3', 'TRANSACTION_START', '|', 'EBUSY'],
    [1, 'T3', 'TRANSACTION_END', 'X|', 'EINVAL'],
    [2, 'T3', 'READ', '/tool/public|', 'ENOENT'],
    [1, 'T3', 'TRANSACTION_END', 'F|', 'OK|'],
    [1, '999', 'READ', 'a|', 'ENOENT'],
    [1, '-', 'TRANSACTION_END', 'T|', 'ENOENT'],
  ],
  'transactions: what conflicts': [
    [1, '-', 'WRITE', 'a|1', 'OK|'],
    [1, '-', 'WRITE', 'b|1', 'OK|'],
    [1, '-', 'WRITE', 'dir/x|1', 'OK|'],
    // read here, written there
    [1, '-', 'TRANSACTION_START', '|', 'T1'],
    [1, 'T1', 'READ', 'a|', '1'],
    [1, 'T1', 'WRITE', 'b|2', 'OK|'],
    [1, '-', 'WRITE', 'a|9', 'OK|'],
    [1, 'T1', 'READ', 'a|', '1'],
    [1, 'T1', 'TRANSACTION_END', 'T|', 'EAGAIN'],
    [1, '-', 'READ', 'b|', '1'],
    // written here and there
    [1, '-', 'TRANSACTION_START', '|', 'T2'],
    [1, 'T2', 'WRITE', 'b|3', 'OK|'],
    [1, '-', 'WRITE', 'b|4', 'OK|'],
    [1, 'T2', 'TRANSACTION_END', 'T|', 'EAGAIN'],
    [1, '-', 'READ', 'b|', '4'],
    // the same value is a change as well
    [1, '-', 'TRANSACTION_START', '|', 'T3'],
    [1, 'T3', 'READ', 'a|', '9'],
    [1, '-', 'WRITE', 'a|9', 'OK|'],
    [1, 'T3', 'TRANSACTION_END', 'T|', 'EAGAIN'],
    // touched is what counts, not what was there at the start
    [1, '-', 'TRANSACTION_START', '|', 'T4'],
    [1, '-', 'WRITE', 'a|10', 'OK|'],
    [1, 'T4', 'WRITE', 'b|5', 'OK|'],
    [1, 'T4', 'TRANSACTION_END', 'T|', 'OK|'],
    // two new children of one parent
    [1, '-', 'TRANSACTION_START', '|', 'T5'],
    [1, 'T5', 'WRITE', 'dir/y|1', 'OK|'],
    [1, '-', 'WRITE', 'dir/z|1', 'OK|'],
    [1, 'T5', 'TRANSACTION_END', 'T|', 'EAGAIN'],
    // a value below does not change its parent
    [1, '-', 'TRANSACTION_START', '|', 'T6'],
    [1, 'T6', 'DIRECTORY', 'dir|', 'x|z|'],
    [1, '-', 'WRITE', 'dir/x|2', 'OK|'],
    [1, 'T6', 'WRITE', 'dir/y|1', 'OK|'],
    [1, 'T6', 'TRANSACTION_END', 'T|', 'OK|'],
    // absent when looked for, there at the end
    [1, '-', 'TRANSACTION_START', '|', 'T7'],
    [1, 'T7', 'READ', 'later|', 'ENOENT'],
    [1, '-', 'WRITE', 'later|1', 'OK|'],
    [1, 'T7', 'TRANSACTION_END', 'T|', 'EAGAIN'],
    // somebody adds to what is being removed
    [1, '-', 'TRANSACTION_START', '|', 'T8'],
    [1, 'T8', 'RM', 'dir|', 'OK|'],
    [1, '-', 'WRITE', 'dir/x/new|1', 'OK|'],
    [1, 'T8', 'TRANSACTION_END', 'T|', 'EAGAIN'],
    [1, '-', 'READ', 'dir/x/new|', '1'],
    // removed and made again
    [1, '-', 'TRANSACTION_START', '|', 'T9'],
    [1, 'T9', 'RM', 'dir|', 'OK|'],
    [1, 'T9', 'WRITE', 'dir/only|1', 'OK|'],
    [1, 'T9', 'TRANSACTION_END', 'T|', 'OK|'],
    [1, '-', 'DIRECTORY', 'dir|', 'only|'],
  ],
  'privileged and unknown operations': [
    [1, '-', 'GET_DOMAIN_PATH', '7|', '/local/domain/7|'],
    [1, '-', 'GET_DOMAIN_PATH', 'x|', 'EINVAL'],
    [1, '-', 'GET_DOMAIN_PATH', '32752|', 'EINVAL'],
    [1, '-', 'IS_DOMAIN_INTRODUCED', '1|', 'EACCES'],
    [1, '-', 'RELEASE', '2|', 'EACCES'],
    [1, '-', 'RESUME', '2|', 'EACCES'],
    [1, '-', 'INTRODUCE', '3|1|1|', 'EACCES'],
    [1, '-', 'SET_TARGET', '1|2|', 'EACCES'],
    [1, '-', 'CONTROL', 'print|x|', 'EACCES'],
    [1, '-', 'CONTROL', 'without a NUL', 'EACCES'],
    [1, '-', 'GET_QUOTA', '|', 'EACCES'],
    [1, '-', 'SET_QUOTA', '1|nodes|0|', 'EACCES'],
    [1, '-', 'SET_FEATURE', '1|0|', 'EACCES'],
    [1, '-', 'GET_FEATURE', '', '7|'],
    [1, '-', 'GET_FEATURE', '|', '7|'],
    [1, '-', 'GET_FEATURE', '1|', 'EACCES'],
    [1, '-', 'WATCH_EVENT', 'a|b|', 'ENOSYS'],
    [1, '-', 'ERROR', 'EIO|', 'ENOSYS'],
  ],
  'WATCH, UNWATCH and RESET_WATCHES': [
    [1, '-', 'WATCH', 'a|t|', 'OK|'],
    [1, '-', 'WATCH', 'a|t|', 'EEXIST'],
    [1, '-', 'WATCH', '/local/domain/1/a|t|', 'EEXIST'],
    [1, '-', 'WATCH', 'a|u|', 'OK|'],
    [1, '-', 'WATCH', 'a|', 'EINVAL'],
    [1, '-', 'WATCH', 'a|t', 'EINVAL'],
    [1, '-', 'WATCH', 'a b|t|', 'EINVAL'],
    [1, '-', 'WATCH', 'a|d|x|', 'EINVAL'],
    [1, '-', 'WATCH', 'a|d|1|', 'OK|'],
    [1, '-', 'WATCH', '@other|t|', 'EINVAL'],
    [1, '-', 'WATCH', '@releaseDomain|t|', 'OK|'],
    [1, '-', 'UNWATCH', 'a|t|', 'OK|'],
    [1, '-', 'UNWATCH', 'a|t|', 'ENOENT'],
    [1, '-', 'UNWATCH', 'a b|t|', 'EINVAL'],
    [2, '-', 'UNWATCH', '/local/domain/1/a|u|', 'ENOENT'],
    [1, '77', 'WATCH', 'in-unknown-tx|t|', 'OK|'],
    [1, '-', 'TRANSACTION_START', '|', 'T1'],
    [1, '-', 'RESET_WATCHES', '|', 'OK|'],
    [1, '-', 'UNWATCH', 'a|u|', 'ENOENT'],
    [1, 'T1', 'READ', 'a|', 'ENOENT'],
    [1, 'T1', 'TRANSACTION_END', 'F|', 'ENOENT'],
  ],
};

for (const [name, rows] of Object.entries(SCENARIOS)) {
  test(`xenstore scenario: ${name}`, (t) => {
    const rig = planted();
    for (const { row, expected, got } of runScenario(rig, rows)) t.is(got, expected, row);
    t.true(rig.store.audit().isConsistent);
  });
}

test('an answer repeats type, request id and transaction id; an error only the ids', (t) => {
  const rig = planted();
  const read = rig.request(1, 2, 'missing\0');
  t.deepEqual(read, { type: 16, reqId: 1, txId: 0, payload: 'ENOENT\0' });
  const write = rig.request(1, 11, 'x\0y');
  t.deepEqual(write, { type: 11, reqId: 2, txId: 0, payload: 'OK\0' });
});

test("dom0 may do everything: others' nodes, owners, special permissions, releases", (t) => {
  const rig = planted();
  const { dom0 } = rig;
  t.deepEqual(
    rig.ask<string>((then) => dom0.read('/tool/secret', then)),
    { ok: true, value: 'sec' },
  );
  t.deepEqual(
    rig.ask<void>((then) => dom0.setPermissions('/tool/secret', ['n2'], then)),
    { ok: true, value: undefined },
  );
  t.is(rig.request(2, 2, '/tool/secret\0').payload, 'sec');
  t.deepEqual(rig.ask<void>((then) => dom0.setPermissions('@releaseDomain', ['n0', 'r1'], then)).ok, true);
  t.deepEqual(
    rig.ask<readonly string[]>((then) => dom0.getPermissions('@releaseDomain', then)),
    {
      ok: true,
      value: ['n0', 'r1'],
    },
  );
  t.deepEqual(
    rig.ask<void>((then) => dom0.remove('/', then)),
    { ok: false, error: 'EINVAL' },
  );
});
