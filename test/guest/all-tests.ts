/** The tests of the guest, in the order in which they run. */
import './machine.guest.ts'
import './placement.guest.ts'
