# -*- Perl -*-
# SPDX-License-Identifier: GPL-3.0-or-later
# The benchmark's filter for mimedefang.pl: names and types are checked, nothing is removed, a header field is added.

use strict;
use warnings;

my $blocked = qr/\.(?:bat|chm|cmd|com|cpl|dll|exe|hta|iso|jar|js|lnk|msi|pif|ps1|reg|scr|vbs|wsf)\.*$/i;
my $parts;

sub filter_begin { $parts = 0; }

sub bad_name { my ($entity) = @_; return re_match($entity, $blocked); }

sub filter {
    my ($entity, $name, $extension, $type) = @_;
    $parts++;
    return action_bounce('No message/partial') if $type eq 'message/partial';
    return action_drop_with_warning("$name was removed") if bad_name($entity);
    return action_accept();
}

sub filter_multipart {
    my ($entity, $name, $extension, $type) = @_;
    return action_bounce('No message/partial') if $type eq 'message/partial';
    return action_drop_with_warning("$name was removed") if bad_name($entity);
    return action_accept();
}

sub filter_end { action_add_header('X-Filtered', "$parts parts"); }

1;
