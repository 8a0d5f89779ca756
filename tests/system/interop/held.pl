# -*- Perl -*-
# SPDX-License-Identifier: GPL-3.0-or-later
# A filter whose sender check lasts as long as a file `hold` lies in the message's directory, a minute at most.

use strict;
use warnings;

sub filter_sender {
    my $polls = 0;
    while (-e 'hold' && $polls++ < 1200) { select(undef, undef, undef, 0.05); }
    return ('CONTINUE', 'ok');
}

sub filter_relay     { return ('CONTINUE', 'ok'); }
sub filter_recipient { return ('CONTINUE', 'ok'); }
sub filter_end       { action_add_header('X-Seen', 'yes'); }

sub filter_unknown_cmd {
    my ($command, @arguments) = @_;
    return ('ok', scalar(@arguments), @arguments) if $command eq 'echo';
    return ('error:', 'no such command');
}

1;
