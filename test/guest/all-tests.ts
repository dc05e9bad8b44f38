/** The tests of the guest, in the order in which they run. */
import './machine.guest.ts'
import './mount-node.guest.ts'
import './mount-numa.guest.ts'
import './placement.guest.ts'
import './replicas.guest.ts'
import './by-node.guest.ts'
import './plugged.guest.ts'
